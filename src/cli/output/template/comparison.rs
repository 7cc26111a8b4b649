//! `eq`, `ne`, `lt`, `le`, `gt`, `ge`: values of one basic type compare, others do not.

use super::datum::Datum;
use super::verb;
use std::cmp::Ordering;
use std::rc::Rc;

/// Which relation is asked for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Order {
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// Whether `value` equals one of `others`.
pub(super) fn equal(value: &Datum, others: &[Datum]) -> Result<bool, String> {
    if others.is_empty() {
        return Err("missing argument for comparison".to_string());
    }
    for other in others {
        if equals(value, other)? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn equals(value: &Datum, other: &Datum) -> Result<bool, String> {
    let (value, other) = match (value, other) {
        (Datum::Pointer(_, value), Datum::Pointer(_, other)) => {
            return Ok(Rc::ptr_eq(value, other));
        }
        (value, other) => (value.bare(), other.bare()),
    };
    let absent = |datum: &Datum| matches!(datum, Datum::Missing | Datum::Null);
    let nil = |datum: &Datum| matches!(datum, Datum::Missing | Datum::Null | Datum::Nil(_));
    let basic = |datum: &Datum| compare(datum, datum).is_some() || matches!(datum, Datum::Bool(_));
    match (value, other) {
        (Datum::Bool(value), Datum::Bool(other)) => Ok(value == other),
        _ if compare(value, other).is_some() => Ok(compare(value, other) == Some(Ordering::Equal)),
        _ if absent(value) || absent(other) => Ok(nil(value) && nil(other)),
        _ if basic(value) || basic(other) => Err("incompatible types for comparison".to_string()),
        _ if nil(value) || nil(other) => Ok(nil(value) && nil(other)),
        _ if std::mem::discriminant(value) != std::mem::discriminant(other) => Err(format!(
            "non-comparable types {}: {}, {}: {}",
            verb::printf("%s", std::slice::from_ref(value)),
            value.kind(),
            other.kind(),
            verb::print(std::slice::from_ref(other)),
        )),
        _ => Err(format!(
            "non-comparable type {}: {}",
            verb::printf("%s", std::slice::from_ref(other)),
            other.kind()
        )),
    }
}

/// The relation between two numbers of one type or two texts.
fn compare(value: &Datum, other: &Datum) -> Option<Ordering> {
    match (value, other) {
        (Datum::Integer(value), Datum::Integer(other)) => Some(value.cmp(other)),
        (Datum::Float(value), Datum::Float(other)) => value.partial_cmp(other),
        (Datum::Text(value), Datum::Text(other)) => Some(value.cmp(other)),
        _ => None,
    }
}

/// Whether the two `values` are in this `order`.
pub(super) fn ordered(values: &[Datum], order: Order) -> Result<Datum, String> {
    for value in values {
        if !matches!(
            value.bare(),
            Datum::Bool(_) | Datum::Integer(_) | Datum::Float(_) | Datum::Text(_)
        ) {
            return Err("invalid type for comparison".to_string());
        }
    }
    let found = match (values[0].bare(), values[1].bare()) {
        (Datum::Bool(_), Datum::Bool(_)) => return Err("invalid type for comparison".to_string()),
        (value, other) => compare(value, other).ok_or("incompatible types for comparison")?,
    };
    Ok(Datum::Bool(match order {
        Order::Less => found.is_lt(),
        Order::LessOrEqual => found.is_le(),
        Order::Greater => found.is_gt(),
        Order::GreaterOrEqual => found.is_ge(),
    }))
}
