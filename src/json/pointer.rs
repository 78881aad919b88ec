//! JSON Pointers (RFC 6901), step by step.
//!
//! Owns what a name looks like as a step and a step as a name. The idea: `~` and `/` are written in one place.
//!
//! Must not: look anything up; [`super::Value::pointer`] does.

/// A name as a step is written.
pub fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

/// The name that a step is written for.
pub fn plain(step: &str) -> String {
    step.replace("~1", "/").replace("~0", "~")
}

/// The names that a pointer leads through.
pub fn names(pointer: &str) -> Vec<String> {
    pointer.split('/').skip(1).map(plain).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_back_as_they_were() {
        let given = ["", "a", "a/b", "~", "~1", "m~n/o"];
        let pointer = given.iter().fold(String::new(), |pointer, name| pointer + "/" + &escaped(name));
        assert_eq!(names(&pointer), given);
        assert!(names("").is_empty());
    }
}
