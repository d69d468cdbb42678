//! Which received packet a thread looks at: what it sends meanwhile gets its place behind that packet.
use crate::batch::Token;
use std::cell::Cell;
use std::marker::PhantomData;

/// A handle's number, and the token of a packet that was received from it.
type Held = (u64, Option<Token>);

thread_local! {
    static HELD: Cell<Held> = const { Cell::new((0, None)) };
}

/// A thread's hand, for one handle: empty again when it is dropped, or as it was before. Loops within loops have a hand each.
pub struct Hand {
    handle: u64,
    outer: Held,
    /// The hand is the thread's.
    not_send: PhantomData<*const ()>,
}

impl Hand {
    pub(super) fn new(handle: u64) -> Self {
        Self { handle, outer: HELD.replace((handle, None)), not_send: PhantomData }
    }

    /// Says which packet the thread looks at, or that it looks at none.
    #[inline]
    pub fn hold(&self, token: Option<Token>) {
        HELD.set((self.handle, token));
    }
}

impl Drop for Hand {
    fn drop(&mut self) {
        HELD.set(self.outer);
    }
}

/// The packet of a handle that this thread looks at.
#[inline]
pub(super) fn held(handle: u64) -> Option<Token> {
    let (holder, token) = HELD.get();
    token.filter(|_| holder == handle)
}
