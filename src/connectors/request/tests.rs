//! What the folder promises, from its outside.

use super::*;
use crate::connectors::openapi::load;
use crate::json::json;

fn plan_of(path: &str, parameters: &Value, body: Option<&Value>, base: &str) -> Plan {
    let mut operation = json!({"parameters": parameters});
    if let Some(body) = body {
        operation["requestBody"] = json!({"content": body});
    }
    let document = json!({"openapi": "3.0.0", "info": {}, "paths": {path: {"post": operation}}});
    let document = load(document.to_string().as_bytes(), None).unwrap();
    let operation =
        document.operations.into_iter().next().unwrap_or_else(|| panic!("{:?}", document.refused));
    let base = Base::new(&Url::parse(base).unwrap(), "/doc").unwrap();
    Plan::new(Arc::new(operation), Arc::new(base), Vec::new()).unwrap()
}

fn sent(path: &str, parameters: &Value, arguments: &Value) -> Result<Request> {
    plan_of(path, parameters, None, "https://api.example/v1").request(arguments.as_object().unwrap())
}

fn target(path: &str, parameters: &Value, arguments: &Value) -> String {
    let request = sent(path, parameters, arguments).unwrap();
    request.url.as_str().strip_prefix("https://api.example/v1").unwrap().to_owned()
}

#[test]
fn a_path_argument_stays_one_segment() {
    let parameters = json!([{"name": "id", "in": "path", "required": true, "schema": {"type": "string"}}]);
    for (value, expected) in [
        ("7", "/a/7/b"),
        ("a b", "/a/a%20b/b"),
        ("ä?#&=", "/a/%C3%A4%3F%23%26%3D/b"),
        ("100%", "/a/100%25/b"),
        ("a;b,c:d@e", "/a/a%3Bb%2Cc%3Ad%40e/b"),
        ("...", "/a/.../b"),
        (".hidden", "/a/.hidden/b"),
        ("{id}", "/a/%7Bid%7D/b"),
        ("%41", "/a/%2541/b"),
    ] {
        assert_eq!(target("/a/{id}/b", &parameters, &json!({"id": value})), expected);
    }
    for value in [
        "",
        ".",
        "..",
        " ",
        " .. ",
        "a/b",
        "/",
        "../x",
        "..\\x",
        "a\\b",
        "%2e",
        "%2e%2e",
        "%2E%2e",
        ".%2e",
        "%2e.",
        "%252e%252e",
        "a%2fb",
        "a%252Fb",
        "a%5cb",
        "%00",
        "a\nb",
        "a\u{0}",
        "..;",
        "..;a",
        "..%3b",
        "%2f",
        "a%0d%0ab",
        "\u{ff0e}\u{ff0e}",
        "a\u{2215}b",
        "%c0%ae%c0%ae",
    ] {
        for path in ["/a/{id}/b", "/a/{id}", "/a/.{id}", "/a/{id}."] {
            let error = sent(path, &parameters, &json!({"id": value})).unwrap_err();
            assert_eq!(error.kind(), Kind::BadArguments, "{path} {value}");
            assert!(value.trim().len() < 4 || !error.message().contains(value), "{error}");
        }
    }
    assert!(sent("/a/.{id}", &parameters, &json!({"id": "."})).is_err());
    assert!(sent("/a/{id}", &parameters, &json!({})).is_err());
    assert!(sent("/a/{id}", &parameters, &json!({"id": null})).is_err());
    assert!(sent("/a/{id}", &parameters, &json!({"id": []})).is_err());
    assert!(sent("/a/{id}", &parameters, &json!({"id": ["x", ".."]})).is_err());
}

#[test]
fn call_like_segments_cannot_be_broken_out_of() {
    let parameters = json!([
        {"name": "a", "in": "path", "required": true, "schema": {"type": "integer"}},
        {"name": "b", "in": "path", "required": true, "schema": {"type": "string"}}]);
    let path = "/f(a={a},b='{b}')";
    assert_eq!(target(path, &parameters, &json!({"a": 1, "b": "x"})), "/f(a=1,b='x')");
    assert_eq!(
        target(path, &parameters, &json!({"a": 1, "b": "o'x') or ('"})),
        "/f(a=1,b='o%27%27x%27%27%29%20or%20%28%27%27')"
    );
    assert!(sent(path, &parameters, &json!({"a": "1,b='y'", "b": "x"})).is_err());
    assert!(sent(path, &parameters, &json!({"a": "1)", "b": "x"})).is_err());
}

/// The table of the OpenAPI specification, 3.0.4, "Style Examples" (names and values are its own).
#[test]
fn styles_are_written_as_the_specification_shows() {
    let array = json!(["blue", "black", "brown"]);
    let object = json!({"R": 100, "G": 200, "B": 150});
    let string = json!("blue");
    for (place, style, explode, value, expected) in [
        ("path", "matrix", false, &string, ";color=blue"),
        ("path", "matrix", false, &array, ";color=blue,black,brown"),
        ("path", "matrix", false, &object, ";color=R,100,G,200,B,150"),
        ("path", "matrix", true, &array, ";color=blue;color=black;color=brown"),
        ("path", "matrix", true, &object, ";R=100;G=200;B=150"),
        ("path", "label", false, &string, ".blue"),
        ("path", "label", false, &array, ".blue,black,brown"),
        ("path", "label", false, &object, ".R,100,G,200,B,150"),
        ("path", "label", true, &array, ".blue.black.brown"),
        ("path", "label", true, &object, ".R=100.G=200.B=150"),
        ("path", "simple", false, &string, "blue"),
        ("path", "simple", false, &array, "blue,black,brown"),
        ("path", "simple", false, &object, "R,100,G,200,B,150"),
        ("path", "simple", true, &object, "R=100,G=200,B=150"),
        ("query", "form", false, &string, "?color=blue"),
        ("query", "form", false, &array, "?color=blue,black,brown"),
        ("query", "form", false, &object, "?color=R,100,G,200,B,150"),
        ("query", "form", true, &array, "?color=blue&color=black&color=brown"),
        ("query", "form", true, &object, "?R=100&G=200&B=150"),
        ("query", "spaceDelimited", false, &array, "?color=blue%20black%20brown"),
        ("query", "spaceDelimited", false, &object, "?color=R%20100%20G%20200%20B%20150"),
        ("query", "pipeDelimited", false, &array, "?color=blue%7Cblack%7Cbrown"),
        ("query", "pipeDelimited", false, &object, "?color=R%7C100%7CG%7C200%7CB%7C150"),
        ("query", "deepObject", true, &object, "?color%5BR%5D=100&color%5BG%5D=200&color%5BB%5D=150"),
    ] {
        let parameters = json!([{"name": "color", "in": place, "required": true, "style": style, "explode": explode,
            "schema": {}}]);
        let (path, expected) = match place {
            "path" => ("/{color}", format!("/{expected}")),
            _ => ("/x", format!("/x{expected}")),
        };
        assert_eq!(target(path, &parameters, &json!({"color": value})), expected, "{style} {explode}");
    }
}

#[test]
fn queries_are_encoded_and_cannot_be_added_to() {
    let query = |more: Value, value: Value| {
        let mut parameter = json!({"name": "q[x]", "in": "query", "schema": {}});
        parameter.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        sent(
            "/x?v=1",
            &json!([parameter, {"name": "other", "in": "query", "schema": {}}]),
            &json!({"q_x": value}),
        )
        .map(|request| request.url.query().unwrap_or_default().to_owned())
    };
    assert_eq!(
        query(json!({}), json!("a&b=c#d+e f'\"é")).unwrap(),
        "q%5Bx%5D=a%26b%3Dc%23d%2Be%20f%27%22%C3%A9&v=1"
    );
    assert_eq!(
        query(json!({"allowReserved": true}), json!("a/b?c:d&e=f#g+h")).unwrap(),
        "q%5Bx%5D=a/b?c:d%26e%3Df%23g%2Bh&v=1"
    );
    assert_eq!(query(json!({}), json!([])).unwrap(), "v=1");
    assert_eq!(query(json!({}), json!("")).unwrap(), "q%5Bx%5D=&v=1");
    assert_eq!(query(json!({}), json!(true)).unwrap(), "q%5Bx%5D=true&v=1");
    assert!(query(json!({}), json!({"other": 1})).is_err());
    assert!(query(json!({}), json!({"v": 2})).is_err());
    assert_eq!(
        query(json!({"schema": null, "content": {"application/json": {}}}), json!({"a": [1]})).unwrap(),
        "q%5Bx%5D=%7B%22a%22%3A%5B1%5D%7D&v=1"
    );
    assert_eq!(
        query(json!({"style": "deepObject"}), json!({"a": {"b]": [1, 2]}})).unwrap(),
        "q%5Bx%5D%5Ba%5D%5Bb%5D%5D=1&q%5Bx%5D%5Ba%5D%5Bb%5D%5D=2&v=1"
    );
}

#[test]
fn no_argument_makes_another_method_address_or_host_of_a_request() {
    let filter = json!([{"name": "filter", "in": "query", "schema": {"type": "object"}}]);
    assert_eq!(target("/x", &filter, &json!({"filter": {"a": 1}})), "/x?a=1");
    for name in ["_method", "_METHOD", "X-HTTP-Method-Override", "http_method"] {
        let error = sent("/x", &filter, &json!({"filter": {name: "DELETE"}})).unwrap_err();
        assert_eq!(error.kind(), Kind::BadArguments, "{name}");
        for media in ["application/x-www-form-urlencoded", "multipart/form-data"] {
            let content = json!({media: {"schema": {"type": "object"}}});
            let plan = plan_of("/x", &json!([]), Some(&content), "https://api.example");
            let with = |fields: Value| plan.request(json!({"body": fields}).as_object().unwrap());
            assert!(with(json!({"name": "DELETE"})).is_ok(), "{media}");
            assert_eq!(
                with(json!({name: "DELETE"})).unwrap_err().kind(),
                Kind::BadArguments,
                "{media} {name}"
            );
        }
    }
    for name in ["X-Original-URL", "X_Rewrite_URL", "X-Forwarded-Host"] {
        let header = json!([{"name": name, "in": "header", "schema": {"type": "string"}}]);
        let request = sent("/x", &header, &json!({name: "/admin"})).unwrap();
        assert!(request.headers.iter().all(|(_, value)| value != "/admin"), "{name}");
    }
}

#[test]
fn headers_and_cookies_hold_one_line() {
    let parameters = json!([{"name": "X-Trace", "in": "header", "schema": {}},
        {"name": "sid", "in": "cookie", "schema": {}}, {"name": "Host", "in": "header", "schema": {}}]);
    let request =
        sent("/x", &parameters, &json!({"X-Trace": ["a", "b"], "sid": "a; b=c", "Host": "evil"})).unwrap();
    let of = |name: &str| {
        request
            .headers
            .iter()
            .filter(|(it, _)| it == name)
            .map(|(_, it)| it.to_str().unwrap())
            .collect::<Vec<_>>()
    };
    assert_eq!((of("x-trace"), of("cookie"), of("host").len()), (vec!["a,b"], vec!["sid=a%3B%20b%3Dc"], 0));
    assert_eq!(of("accept"), ["application/json;q=0.9"]);
    for value in ["a\r\nX: y", "a\nb", "a\u{0}", "é"] {
        let error = sent("/x", &parameters, &json!({"X-Trace": value})).unwrap_err();
        assert_eq!(error.kind(), Kind::BadArguments);
    }
}

#[test]
fn bodies_are_written_as_their_media_type_has_them() {
    let body = |content: Value, value: Value| {
        let plan = plan_of("/x", &json!([]), Some(&content), "https://api.example");
        plan.request(json!({"body": value}).as_object().unwrap()).map(|request| request.body)
    };
    let bytes = |body: crate::http::Body| match body {
        crate::http::Body::Bytes { content_type, bytes } => {
            (content_type, String::from_utf8(bytes.to_vec()).unwrap())
        }
        _ => panic!("no bytes"),
    };
    let patch = json!([{"op": "replace", "path": "/a", "value": 1}]);
    assert_eq!(
        bytes(body(json!({"application/json-patch+json": {}}), patch.clone()).unwrap()),
        ("application/json-patch+json".into(), patch.to_string())
    );
    assert_eq!(
        bytes(
            body(
                json!({"application/x-www-form-urlencoded": {"schema": {"type": "object"}, "encoding":
            {"csv": {"style": "form", "explode": false}, "d": {"style": "deepObject"}}}}),
                json!({"a": "x y&z", "l": [1, 2], "csv": [1, 2], "o": {"k": 1}, "d": {"k": "v"}})
            )
            .unwrap()
        ),
        (
            "application/x-www-form-urlencoded".into(),
            "a=x+y%26z&l=1&l=2&csv=1,2&o=%7B%22k%22%3A1%7D&d%5Bk%5D=v".into()
        )
    );
    assert_eq!(bytes(body(json!({"application/octet-stream": {}}), json!("aGk=")).unwrap()).1, "hi");
    assert_eq!(bytes(body(json!({"text/plain": {}}), json!("aGk=")).unwrap()).1, "aGk=");
    assert!(body(json!({"application/octet-stream": {}}), json!("no base64!")).is_err());
    let form = body(
        json!({"multipart/form-data": {"schema": {"type": "object", "properties":
        {"file": {"type": "string", "format": "binary"}, "meta": {"type": "object"}}},
        "encoding": {"file": {"contentType": "image/png, image/jpeg"}}}}),
        json!({"file": "aGk=", "meta": {"a": 1}, "tags": ["x", "y"]}),
    )
    .unwrap();
    let crate::http::Body::Multipart(parts) = form else { panic!("no form") };
    let got: Vec<_> = parts
        .iter()
        .map(|part| {
            (part.name.as_str(), part.file_name.as_deref(), part.content_type.as_deref(), part.bytes.as_ref())
        })
        .collect();
    assert_eq!(
        got,
        [
            ("file", Some("file"), Some("image/png"), b"hi".as_slice()),
            ("meta", None, Some("application/json"), br#"{"a":1}"#),
            ("tags", None, None, b"x"),
            ("tags", None, None, b"y"),
        ]
    );
}

#[test]
fn a_base_address_decides_where_everything_goes() {
    let path = |base: &str| {
        let plan = plan_of("/x/", &json!([]), None, base);
        plan.request(&Map::new()).unwrap().url.to_string()
    };
    assert_eq!(path("https://api.example"), "https://api.example/doc/x/");
    assert_eq!(path("https://api.example/v9/"), "https://api.example/v9/x/");
    assert_eq!(path("http://127.0.0.1:8080"), "http://127.0.0.1:8080/doc/x/");
    for bad in ["ftp://a.example", "https://u:p@a.example", "https://a.example/?x=1", "data:x"] {
        assert!(Base::new(&Url::parse(bad).unwrap(), "").is_err(), "{bad}");
    }
}

proptest::proptest! {
    #[test]
    fn whatever_is_given_the_request_stays_where_it_belongs(value in ".{0,20}", query in ".{0,20}") {
        let parameters = json!([{"name": "id", "in": "path", "required": true, "schema": {}},
            {"name": "q", "in": "query", "schema": {}}]);
        if let Ok(request) = sent("/a/{id}/b", &parameters, &json!({"id": value, "q": query})) {
            assert_eq!(request.url.host_str(), Some("api.example"));
            let segments: Vec<&str> = request.url.path_segments().unwrap().collect();
            assert_eq!((segments.len(), segments[0], segments[1], segments[3]), (4, "v1", "a", "b"));
            let id = percent_encoding::percent_decode_str(segments[2]).decode_utf8().unwrap();
            assert_eq!(id, value);
            let pairs: Vec<(String, String)> = request.url.query_pairs().into_owned().collect();
            assert_eq!(pairs, [(String::from("q"), query)]);
        }
    }
}
