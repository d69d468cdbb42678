//! Which received packet a thread looks at: what it sends meanwhile gets its place behind that packet.
use super::HandleId;
use crate::batch::Token;
use std::cell::{Cell, RefCell};
use std::rc::Rc;

/// What a thread has in hand: a handle's number, and the token of a packet that was received from it.
#[derive(Clone, Default)]
struct Held {
    handle: HandleId,
    token: Rc<Cell<Option<Token>>>,
}

thread_local! {
    static HELD: RefCell<Held> = RefCell::default();
}

/// A thread's hand, for one handle: empty again when it is dropped, or as it was before. Loops within loops have a hand each.
pub struct Hand {
    token: Rc<Cell<Option<Token>>>,
    outer: Held,
}

impl Hand {
    pub(super) fn new(handle: HandleId) -> Self {
        let held = Held { handle, ..Held::default() };
        Self { token: Rc::clone(&held.token), outer: HELD.replace(held) }
    }

    /// Says which packet the thread looks at, or that it looks at none.
    #[inline]
    pub fn hold(&self, token: Option<Token>) {
        self.token.set(token);
    }
}

impl Drop for Hand {
    fn drop(&mut self) {
        HELD.replace(std::mem::take(&mut self.outer));
    }
}

/// The packet of a handle that this thread looks at.
#[inline]
pub(super) fn held(handle: HandleId) -> Option<Token> {
    HELD.with_borrow(|held| held.token.get().filter(|_| held.handle == handle))
}
