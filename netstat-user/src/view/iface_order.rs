//! The order of interfaces: by name, with the numbers in it as numbers.

use std::cmp::Ordering;

/// Compares two names: device without its number, number, spelling, alias.
#[must_use]
pub fn compare(a: &[u8], b: &[u8]) -> Ordering {
    let ((device_a, alias_a), (device_b, alias_b)) = (split_alias(a), split_alias(b));
    let ((head_a, number_a), (head_b, number_b)) = (split_number(device_a), split_number(device_b));
    head_a
        .cmp(head_b)
        .then_with(|| number_a.cmp(&number_b))
        .then_with(|| device_a.cmp(device_b))
        .then_with(|| alias_a.map(value).cmp(&alias_b.map(value)))
        .then_with(|| alias_a.cmp(&alias_b))
}

/// Splits off `:digits` at the end.
fn split_alias(name: &[u8]) -> (&[u8], Option<&[u8]>) {
    match name.iter().rposition(|&byte| byte == b':') {
        Some(at) if at + 1 < name.len() && name[at + 1..].iter().all(u8::is_ascii_digit) => {
            (&name[..at], Some(&name[at + 1..]))
        }
        _ => (name, None),
    }
}

/// Splits off the digits at the end.
fn split_number(device: &[u8]) -> (&[u8], i32) {
    let head = device
        .iter()
        .rposition(|byte| !byte.is_ascii_digit())
        .map_or(0, |at| at + 1);
    (&device[..head], value(&device[head..]))
}

/// As `atoi`: 0 if there is no digit.
fn value(digits: &[u8]) -> i32 {
    let value = digits.iter().fold(0_i64, |value, digit| {
        value
            .saturating_mul(10)
            .saturating_add((digit - b'0').into())
    });
    value as i32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_count_as_numbers() {
        let order = "Z9 aaa b10a b2a br0 eth eth0 eth0:1 eth0:10 eth1 eth02 eth2 eth10 eth10:2 \
                     eth0:web lo";
        let mut sorted: Vec<&str> = order.split_whitespace().collect();
        sorted.rotate_left(3);
        sorted.sort_by(|a, b| compare(a.as_bytes(), b.as_bytes()));
        assert_eq!(sorted, order.split_whitespace().collect::<Vec<_>>());
    }

    proptest::proptest! {
        #[test]
        fn names_are_equal_only_if_they_are_the_same(a in "[ab0-2:]{0,6}", b in "[ab0-2:]{0,6}") {
            let order = compare(a.as_bytes(), b.as_bytes());
            proptest::prop_assert_eq!(order == Ordering::Equal, a == b);
            proptest::prop_assert_eq!(compare(b.as_bytes(), a.as_bytes()), order.reverse());
        }
    }
}
