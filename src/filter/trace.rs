//! Which test of a filter decided: the tests as the filter has them, one after the other, each with the value that it saw.
//!
//! Slow on purpose: no program that was optimised takes part, so that it also serves to check those. Never panics.
use super::bind::{self, Place};
use super::eval::{self, View};
use super::evaluate::Checked;
use super::format::{format_test, format_value};
use super::number::Number;
use super::types::Target;
use super::{EvaluateError, Filter, Shared};
use crate::address::Address;
use crate::batch::PacketRef;

/// A test that was asked on the way to the answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The test, as the normal form writes it.
    pub text: String,
    /// The value of the field; `None` if it is not there, which fails every test.
    pub value: Option<Value>,
    /// Whether the test passed.
    pub passed: bool,
}

/// The value of a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Value {
    /// Whether it is below zero.
    pub is_negative: bool,
    /// Its distance from zero. An IPv4 address counts as the IPv6 address that it is mapped to.
    pub magnitude: u128,
    /// The value as filters write it.
    pub shown: String,
}

impl Filter {
    /// The tests that are asked of a packet, in order, the one that decides last; and the answer. Tests whose outcome makes no
    /// difference are left out, so that there is none of a filter that is the same for every packet.
    pub fn trace(&self, packet: PacketRef<'_>) -> (Vec<Step>, bool) {
        self.trace_view(&View::of(packet))
    }

    /// Likewise of bytes with their address record, which are checked as [`evaluate`](Self::evaluate) checks them.
    pub fn trace_bytes(&self, packet: Option<&[u8]>, address: &Address) -> Result<(Vec<Step>, bool), EvaluateError> {
        let checked = Checked::on_layer(packet, address, self.shared.layer)?;
        Ok(self.trace_view(&checked.view()))
    }

    fn trace_view(&self, view: &View<'_>) -> (Vec<Step>, bool) {
        let Shared { tests, sets, layer, .. } = &*self.shared;
        let class = view.class();
        let mut steps = Vec::new();
        let mut target = Target::Test(0);
        // Targets lead forwards, so that this ends.
        while let Target::Test(index) = target {
            let Some(test) = tests.get(usize::from(index)) else { return (steps, false) };
            if test.success == test.failure {
                target = test.success;
                continue;
            }
            let number = bind::value(test, class, *layer, |place: Place| eval::value(place, view));
            let passed = number.is_some_and(|number| test.holds(number, sets));
            let value = number.map(|Number { negative, magnitude }| Value {
                is_negative: negative,
                magnitude,
                shown: format_value(test.field, Number { negative, magnitude }, *layer),
            });
            steps.push(Step { text: format_test(test, sets, *layer), value, passed });
            target = if passed { test.success } else { test.failure };
        }
        (steps, target == Target::Accept)
    }
}
