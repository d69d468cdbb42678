//! The driver's reads: one that waits, and what it brings.
use super::error::{Error, ErrorCode};
use super::sync::{Mutex, lock};
use super::wait::Bell;
use crate::address::{Address, Layer};
use crate::batch::Record;

/// What a read brought, also when it failed: a packet that was too long is there as far as it fitted.
#[derive(Debug)]
pub struct Completion {
    /// What the read failed with, if it did.
    pub error: Option<Error>,
    /// The packets' bytes, one behind the other.
    pub data: Vec<u8>,
    /// Their addresses.
    pub addresses: Vec<Address>,
}

/// A read that waits, and later what it brought.
#[derive(Debug)]
pub(super) struct Read {
    /// Bytes that fit; nothing without a buffer.
    pub(super) buffer_len: Option<usize>,
    /// Packets that fit.
    pub(super) capacity: usize,
    pub(super) bell: Bell,
    pub(super) completion: Mutex<Option<Completion>>,
}

impl Read {
    pub(super) fn new(buffer_len: Option<usize>, capacity: usize) -> Self {
        Self { buffer_len, capacity, bell: Bell::new(), completion: Mutex::new(None) }
    }

    /// Called under the state's lock, like all that rings.
    pub(super) fn complete(&self, completion: Completion) {
        *lock(&self.completion) = Some(completion);
        self.bell.ring_all();
    }

    pub(super) fn fail(&self, error: Error) {
        self.complete(Completion { error: Some(error), data: Vec::new(), addresses: Vec::new() });
    }

    /// The handle was closed, or the read cancelled.
    pub(super) fn abort(&self) {
        self.fail(Error::new(ErrorCode::OperationAborted, "the read was ended by a close or a cancellation"));
    }
}

impl Completion {
    /// Takes the first packet, which is cut if it is too long for the buffer, and gone if there is none.
    pub(super) fn first(read: &Read, layer: Layer, record: &Record, bytes: &[u8]) -> Self {
        let len = bytes.len();
        let has_data = !matches!(layer, Layer::Flow | Layer::Socket);
        let space = read.buffer_len.unwrap_or(0);
        if !has_data || len <= space && space > 0 {
            return Self { error: None, data: bytes.to_vec(), addresses: vec![record.address] };
        }
        let message = format!("the packet has {len} bytes, the buffer {space}; a buffer of 65575 takes any");
        let error = Some(Error::new(ErrorCode::InsufficientBuffer, message));
        if space == 0 {
            return Self { error, data: Vec::new(), addresses: Vec::new() };
        }
        let data = bytes.get(..space).unwrap_or_default().to_vec();
        Self { error, data, addresses: vec![record.address] }
    }
}
