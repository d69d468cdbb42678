//! What the kernel asks of packets before it hands them over: a filter's programs at each of a handle's hooks.
use super::super::intake::copies::Copies;
use super::super::intake::queue::PAYLOAD_MAX;
use super::program::{Question, copying, question};
use super::standing::hooks;
use crate::address::{Flags, Layer};
use crate::filter::{Extent, Filter};
use std::io::Result;

/// What the kernel asks at each hook, in the order of the hooks, and why it asks nothing.
#[derive(Debug, Default)]
pub(crate) struct Questions {
    of_hooks: Vec<Question>,
    /// The same of packets that do not fit a message.
    of_large: Vec<Question>,
    pub(crate) obstacle: Option<String>,
}

impl Questions {
    /// Loads a filter's programs; with `copies` those that copy what matches, as far as the kernel takes them.
    pub(crate) fn load(filter: &Filter, layer: Layer, flags: Flags, copies: Option<&Copies>) -> Self {
        let mut questions = Self::default();
        for (hook, _) in hooks(layer, flags) {
            let copying = copies.and_then(|copies| copying(filter, *hook, copies).ok());
            let copying = copying.filter(|question| !matches!(question, Question::None));
            let mut or_none = |question: Result<Question>| {
                question.unwrap_or_else(|error| {
                    questions.obstacle = Some(error.to_string());
                    Question::None
                })
            };
            let is_sniffing = flags.has(Flags::SNIFF);
            let extent = if is_sniffing { Extent::Any } else { Extent::AtMost(PAYLOAD_MAX as u32) };
            questions.of_hooks.push(or_none(copying.map_or_else(|| question(filter, *hook, extent), Ok)));
            if !is_sniffing {
                questions.of_large.push(or_none(question(filter, *hook, Extent::Large)));
            }
        }
        questions
    }

    /// Nothing is asked, so that every packet is handed over.
    pub(crate) fn none(layer: Layer, flags: Flags, obstacle: String) -> Self {
        let none = || hooks(layer, flags).iter().map(|_| Question::None).collect();
        Self { of_hooks: none(), of_large: none(), obstacle: Some(obstacle) }
    }

    /// Whether of packets that do not fit a message only what matches is handed over.
    pub(crate) fn are_exact_of_large(&self) -> bool {
        self.of_large.iter().all(Question::is_exact)
    }

    /// Whether only what matches is handed over.
    pub(crate) fn are_exact(&self) -> bool {
        self.of_hooks.iter().all(Question::is_exact)
    }

    /// Those of the hook at a place.
    pub(super) fn at(&self, index: usize) -> Asked<'_> {
        Asked { question: self.of_hooks.get(index), of_large: self.of_large.get(index) }
    }

    /// Whether programs copy what matches, and nothing else does.
    pub(crate) fn copy(&self) -> bool {
        self.of_hooks.iter().all(|question| matches!(question, Question::Copying { .. }))
    }

    /// Whether there are programs at all.
    pub(super) fn has_programs(&self) -> bool {
        self.of_hooks.iter().any(|question| !matches!(question, Question::None))
    }
}

/// What is asked at one hook: of packets that fit a message, and of those that do not.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Asked<'a> {
    pub(super) question: Option<&'a Question>,
    pub(super) of_large: Option<&'a Question>,
}
