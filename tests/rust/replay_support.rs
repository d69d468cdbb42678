//! What the tests of the replay share: short ways to open, receive, send and look at the output.
use oxidivert::address::{Address, Flags, Layer};
use oxidivert::backend::replay::{Output, Replay, SharedBuffer, SharedBytes, Source};
use oxidivert::backend::{Backend, Ending, ErrorCode, OpenOptions, Overload, Received, System, Wait};
use oxidivert::batch::{Batch, Origin, Slot};
use oxidivert::filter::Filter;
use std::sync::Arc;

/// A replay of bytes into a buffer.
pub fn replay(bytes: &[u8]) -> (Replay, SharedBuffer) {
    let buffer = SharedBuffer::default();
    let source = Source::Bytes(SharedBytes::new(bytes.to_vec()));
    let replay = Replay::new(&source, Some(Output::Buffer(Arc::clone(&buffer))), None).expect("it is a capture");
    (replay, buffer)
}

pub fn open(replay: &Replay, filter: &str, priority: i16, flags: Flags) -> Arc<dyn Backend> {
    let filter = Arc::new(Filter::compile(filter, Layer::Network).expect("the filter compiles"));
    let options = OpenOptions {
        filter,
        layer: Layer::Network,
        priority,
        flags,
        on_overload: Overload::Drop,
        track_processes: false,
    };
    replay.open(options).expect("it opens")
}

pub fn receive(handle: &Arc<dyn Backend>, limit: usize) -> Batch {
    let mut batch = Batch::new();
    handle.receive(&mut batch, limit, Wait::Poll).expect("it receives");
    batch
}

pub fn code_of_receive(handle: &Arc<dyn Backend>) -> ErrorCode {
    handle.receive(&mut Batch::new(), 1, Wait::Poll).expect_err("it fails").code()
}

/// A batch of one new packet.
pub fn new_packet(bytes: &[u8], is_outbound: bool) -> Batch {
    let mut address = Address::default();
    address.set_outbound(is_outbound);
    let mut batch = Batch::new();
    batch.push_parsed(bytes, &address, 0, Origin::Injected(None)).expect("it is a packet");
    batch
}

pub fn completed(handle: &Arc<dyn Backend>, buffer: &SharedBuffer) -> Vec<u8> {
    handle.close(Ending::Completed).expect("it closes");
    std::mem::take(&mut *buffer.lock().expect("nobody panicked"))
}

/// The packets and addresses of a capture, as a reader that changes nothing finds them.
pub fn read(bytes: &[u8]) -> Batch {
    let (replay, buffer) = replay(bytes);
    let handle = open(&replay, "true", 0, Flags::SNIFF);
    let mut all = Batch::new();
    while handle.receive(&mut all, 64, Wait::Poll).expect("it reads") == Received::Packets {}
    assert_eq!(completed(&handle, &buffer), bytes, "sniffing changes nothing");
    all
}

/// Changes the packet at `index` of a batch.
pub fn change(batch: &mut Batch, index: usize, edit: impl FnOnce(&mut Slot)) {
    let mut slot = Slot::default();
    assert!(slot.load(batch, index));
    edit(&mut slot);
    slot.store(batch, index).expect("it is still a packet");
}
