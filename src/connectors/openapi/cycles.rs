//! Schemas that contain themselves without a step into a property or an item.
//!
//! Owns [`cut`]. The idea: `A = allOf [B]`, `B = oneOf [A]` keeps a validator busy until its stack ends (documents with
//! "discriminated parents" do this); the reference that closes the circle, or makes the chain longer than any sensible
//! one, is replaced by a schema that accepts anything.
//!
//! Must not: touch circles through properties and items, which end with the value they describe.

use crate::connectors::loose::{loosen, settle};
use crate::connectors::shape::{DEFS, Named};
use crate::json::Value;

/// References from one to the next that apply to the same value.
const CHAIN: usize = 24;

/// Cuts every circle and every over-long chain, beginning with the parts in this order.
pub(super) fn cut(parts: &mut [Named], order: &[usize]) {
    #[derive(Clone, Copy, PartialEq)]
    enum Seen {
        Not,
        Open,
        /// Done; the longest chain below it.
        Done(usize),
    }
    let mut seen = vec![Seen::Not; parts.len()];
    let mut cuts: Vec<(usize, usize)> = Vec::new();
    for start in order.iter().copied() {
        if seen[start] != Seen::Not {
            continue;
        }
        // (part, next of its references, longest chain below so far)
        let mut stack: Vec<(usize, usize, usize)> = vec![(start, 0, 0)];
        seen[start] = Seen::Open;
        loop {
            let height = stack.len();
            let Some((part, next, longest)) = stack.last_mut() else { break };
            let Some(used) = parts[*part].part.in_place.get(*next).map(|id| *id as usize) else {
                seen[*part] = Seen::Done(*longest);
                let below = *longest + 1;
                stack.pop();
                if let Some((_, _, longest)) = stack.last_mut() {
                    *longest = (*longest).max(below);
                }
                continue;
            };
            let part = *part;
            match seen.get(used).copied() {
                Some(Seen::Done(below)) if below + 1 < CHAIN => {
                    *longest = (*longest).max(below + 1);
                    *next += 1;
                }
                Some(Seen::Not) if height < CHAIN => {
                    *next += 1;
                    seen[used] = Seen::Open;
                    stack.push((used, 0, 0));
                }
                Some(_) => {
                    cuts.push((part, used));
                    *next += 1;
                }
                None => *next += 1,
            }
        }
    }
    for (part, used) in cuts {
        let target = format!("{DEFS}{}", parts[used].name);
        let part = &mut parts[part].part;
        open(&mut part.value, &target);
        part.loose |= settle(&mut part.value, &|_| false);
    }
}

/// Replaces references to `target` that apply to the same value.
fn open(value: &mut Value, target: &str) {
    let Value::Object(object) = value else { return };
    if object.get("$ref").and_then(Value::as_str) == Some(target) {
        object.shift_remove("$ref");
        loosen(object);
    }
    for key in ["allOf", "anyOf", "oneOf"] {
        if let Some(Value::Array(branches)) = object.get_mut(key) {
            for branch in branches {
                open(branch, target);
            }
        }
    }
    for key in ["not", "if", "then", "else"] {
        if let Some(inner) = object.get_mut(key) {
            open(inner, target);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connectors::shape::Part;
    use crate::json::json;

    fn part(id: usize, refs: Vec<u32>) -> Named {
        let branches: Vec<Value> = refs.iter().map(|id| json!({"$ref": format!("{DEFS}P{id}")})).collect();
        let value = json!({"allOf": branches});
        Named { name: format!("P{id}"), part: Part { value, in_place: refs, ..Part::default() } }
    }

    #[test]
    fn a_circle_is_cut_once_and_the_rest_stays() {
        let mut parts = vec![part(0, vec![1]), part(1, vec![2, 0]), part(2, vec![])];
        cut(&mut parts, &[0, 1, 2]);
        assert_eq!(parts[0].part.value, json!({"allOf": [{"$ref": "#/$defs/P1"}]}));
        assert_eq!(parts[1].part.value, json!({"allOf": [{"$ref": "#/$defs/P2"}, {}]}));
        let mut own = vec![part(0, vec![0])];
        cut(&mut own, &[0]);
        assert_eq!(own[0].part.value, json!({"allOf": [{}]}));
    }

    #[test]
    fn long_chains_are_cut_whatever_the_order() {
        let count = 5_000_u32;
        let forward: Vec<Named> = (0..count)
            .map(|id| part(id as usize, if id + 1 < count { vec![id + 1] } else { vec![] }))
            .collect();
        let backward: Vec<Named> =
            (0..count).map(|id| part(id as usize, if id > 0 { vec![id - 1] } else { vec![] })).collect();
        for mut parts in [forward, backward] {
            let order: Vec<usize> = (0..parts.len()).collect();
            cut(&mut parts, &order);
            let whole = parts.iter().filter(|named| named.part.value.to_string().contains("$ref")).count();
            assert!(whole > 4_000 && whole < 4_900, "{whole}");
        }
    }
}
