//! What is known of the packets of a class for which a part of a filter holds: the values that some places can have, each by
//! itself. It is never too little: every packet that passes is among them, and perhaps others. Pure; never panics.
use super::bind::{Bound, Place, bind};
use super::members::Members;
use super::program::{Class, Load};
use super::ranges::Ranges;
use super::types::Test;
use std::sync::Arc;

/// The values that places can have; a place that is not listed can have any.
#[derive(Clone, Debug)]
pub(super) struct Facts {
    /// Shared, since sets can be large and stay the same in most steps.
    places: Vec<(Place, Arc<Ranges>)>,
}

/// Facts, or `None` where no packet is left.
pub(super) type Known = Option<Facts>;

impl Facts {
    /// Nothing is known.
    pub(super) const NONE: Self = Self { places: Vec::new() };

    /// The packets that both are about.
    fn both(&self, other: &Self) -> Known {
        let (mut all, few) =
            if self.places.len() < other.places.len() { (other.clone(), self) } else { (self.clone(), other) };
        for (place, values) in &few.places {
            match all.places.iter_mut().find(|(known, _)| known == place) {
                Some((_, known)) => {
                    let left = known.intersection(values);
                    if left.is_empty() {
                        return None;
                    }
                    *known = Arc::new(left);
                }
                None => all.places.push((*place, Arc::clone(values))),
            }
        }
        Some(all)
    }

    /// The packets that either is about, and perhaps others.
    fn either(&self, other: &Self) -> Self {
        let shared = self.places.iter().filter_map(|(place, values)| {
            let (_, others) = other.places.iter().find(|(known, _)| known == place)?;
            Some((*place, Arc::new(values.union(others))))
        });
        Self { places: shared.filter(|(place, values)| !values.is_full(last(*place))).collect() }
    }
}

/// What is known where both hold.
pub(super) fn both(left: &Known, right: &Known) -> Known {
    left.as_ref()?.both(right.as_ref()?)
}

/// What is known where either holds.
fn either(left: &Known, right: &Known) -> Known {
    match (left, right) {
        (Some(left), Some(right)) => Some(left.either(right)),
        (one, None) | (None, one) => one.clone(),
    }
}

/// What is known where a part of a filter holds and where it fails.
#[derive(Clone, Debug)]
pub(super) struct Outcome {
    pub(super) holds: Known,
    pub(super) fails: Known,
}

impl Outcome {
    /// Of a part that is the same for every packet.
    pub(super) fn constant(outcome: bool) -> Self {
        Self { holds: outcome.then_some(Facts::NONE), fails: (!outcome).then_some(Facts::NONE) }
    }

    /// Of a test, which may ask about `sets`, for a class on a layer.
    pub(super) fn of_test(test: &Test, sets: &[Members], class: Class, layer: u8) -> Self {
        let (place, accepted) = match bind(test, class, layer, sets) {
            Bound::Violation => return Self::constant(false),
            Bound::Decided(outcome) => return Self::constant(outcome),
            Bound::Read(place, values) => (place, values.accepted(test, place, sets)),
        };
        let refused = accepted.complement(last(place));
        Self { holds: known(place, accepted), fails: known(place, refused) }
    }

    pub(super) fn not(&self) -> Self {
        Self { holds: self.fails.clone(), fails: self.holds.clone() }
    }

    pub(super) fn and(&self, right: &Self) -> Self {
        Self { holds: both(&self.holds, &right.holds), fails: either(&self.fails, &both(&self.holds, &right.fails)) }
    }

    pub(super) fn or(&self, right: &Self) -> Self {
        Self { holds: either(&self.holds, &both(&self.fails, &right.holds)), fails: both(&self.fails, &right.fails) }
    }

    /// Of a conditional with this condition.
    pub(super) fn choose(&self, then: &Self, otherwise: &Self) -> Self {
        Self {
            holds: either(&both(&self.holds, &then.holds), &both(&self.fails, &otherwise.holds)),
            fails: either(&both(&self.holds, &then.fails), &both(&self.fails, &otherwise.fails)),
        }
    }
}

/// The largest value of a place; one more where it may be absent, which then is a value too, that no test accepts.
fn last(place: Place) -> u128 {
    place.maximum() + u128::from(place.load.may_be_absent())
}

/// That a place has one of these values.
fn known(place: Place, values: Ranges) -> Known {
    let attained = |(low, high): &(u128, u128)| next_flow_label(*low) <= *high;
    if values.is_empty() || place.load == Load::FlowLabel && !values.as_slice().iter().any(attained) {
        return None;
    }
    Some(Facts { places: vec![(place, Arc::new(values))] })
}

/// The first number from this one on that the field `ipv6.FlowLabel` can have: its bytes are in another order, so that some
/// bits are always 0.
fn next_flow_label(number: u128) -> u128 {
    let number = (number + 0xFF) & !0xFF;
    if number & 0xF000 == 0 { number } else { (number | 0xFFFF) + 1 }
}
