//! The engine against a deliberately simple model of the chain, on random handles and packets.
//!
//! The model keeps every handle in one list and every queue as a plain vector, sorts the handles anew for every packet,
//! and knows nothing of locks, bytes or ranks.
use crate::engine_support::*;
use oxidivert::address::{Flags, Layer, Parameter, Shutdown};
use oxidivert::engine::{Engine, Handle, Injection, OpenOptions, Overload};
use proptest::collection::vec;
use proptest::prelude::*;
use std::time::Duration;

/// What is done to engine and model alike. Handles are named by a number modulo their count.
#[derive(Clone, Debug)]
enum Step {
    Open {
        priority: i16,
        mode: Mode,
        below: u16,
        passes: bool,
    },
    Feed {
        count: u8,
    },
    /// Receives up to so many and sends those whose bit is set.
    Pass {
        handle: usize,
        limit: usize,
        sent: u8,
    },
    /// Sends packets of its own.
    Send {
        handle: usize,
        count: u8,
    },
    SetFilter {
        handle: usize,
        below: u16,
    },
    Limit {
        handle: usize,
        length: u64,
    },
    Advance {
        milliseconds: u64,
    },
    Shutdown {
        handle: usize,
    },
    Close {
        handle: usize,
    },
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Mode {
    Divert,
    Sniff,
    Drop,
}

impl Mode {
    fn flags(self) -> Flags {
        match self {
            Self::Divert => DIVERT,
            Self::Sniff => Flags::SNIFF,
            Self::Drop => Flags::DROP,
        }
    }
}

/// Packets are numbers; a filter matches those whose number modulo 10 is below a bound.
struct ModelHandle {
    priority: i16,
    opened: usize,
    mode: Mode,
    below: u16,
    passes: bool,
    queue: Vec<(u16, u64)>,
    length: usize,
    captures: bool,
    is_open: bool,
}

#[derive(Default)]
struct Model {
    handles: Vec<ModelHandle>,
    delivered: Vec<u16>,
    now: u64,
}

impl Model {
    /// Lets a packet go down from above all handles, or from below one.
    fn walk(&mut self, packet: u16, from: Option<usize>) {
        let place = |handle: &ModelHandle| (handle.priority, handle.opened);
        let start = from.map(|from| place(&self.handles[from]));
        let mut order: Vec<usize> = (0..self.handles.len()).collect();
        order.sort_by_key(|index| std::cmp::Reverse(place(&self.handles[*index])));
        for index in order {
            let now = self.now;
            let handle = &mut self.handles[index];
            let is_below = start.is_none_or(|start| place(handle) < start);
            if !is_below || !handle.is_open || !handle.captures || packet % 10 >= handle.below {
                continue;
            }
            if handle.mode == Mode::Drop {
                return;
            }
            handle.queue.retain(|(_, queued)| now - queued <= 2000);
            let mut evicted = Vec::new();
            while handle.queue.len() >= handle.length {
                evicted.push(handle.queue.remove(0).0);
            }
            let goes_on = handle.passes && handle.mode == Mode::Divert;
            handle.queue.push((packet, now));
            let is_diverted = handle.mode == Mode::Divert;
            if goes_on {
                for packet in evicted {
                    self.walk(packet, Some(index));
                }
            }
            if is_diverted {
                return;
            }
        }
        self.delivered.push(packet);
    }

    fn receive(&mut self, index: usize, limit: usize) -> Vec<u16> {
        let now = self.now;
        let handle = &mut self.handles[index];
        handle.queue.retain(|(_, queued)| now - queued <= 2000);
        let count = limit.min(handle.queue.len());
        handle.queue.drain(..count).map(|(packet, _)| packet).collect()
    }

    fn close(&mut self, index: usize) {
        let queued = self.receive(index, usize::MAX);
        self.handles[index].is_open = false;
        if self.handles[index].mode == Mode::Divert {
            for packet in queued {
                self.walk(packet, Some(index));
            }
        }
    }
}

fn filter(below: u16) -> String {
    let tests: Vec<String> = (0..below).map(|digit| format!("udp.DstPort == {}", 100 + digit)).collect();
    if tests.is_empty() { "false".to_owned() } else { tests.join(" or ") }
}

fn packet(number: u16) -> Vec<u8> {
    let builder = oxidivert::packet::Builder::ipv4([10, 0, 0, 1], [192, 0, 2, 1]);
    builder.udp(number, 100 + number % 10).build().expect("it builds")
}

/// Engine and model, side by side.
#[derive(Default)]
struct Pair {
    engine: Engine,
    handles: Vec<Handle>,
    model: Model,
    next: u16,
}

impl Pair {
    fn new_number(&mut self) -> u16 {
        self.next += 1;
        self.next
    }

    fn open(&mut self, priority: i16, mode: Mode, below: u16, passes: bool) {
        let on_overload = if passes { Overload::Pass } else { Overload::Drop };
        let options = options(&filter(below), Layer::Network, priority, mode.flags());
        self.handles.push(self.engine.open(OpenOptions { on_overload, ..options }).expect("it opens"));
        self.model.handles.push(ModelHandle {
            priority,
            opened: self.handles.len(),
            mode,
            below,
            passes,
            queue: Vec::new(),
            length: 4096,
            captures: true,
            is_open: true,
        });
    }

    fn feed(&mut self, count: u8) {
        for _ in 0..count {
            let number = self.new_number();
            self.engine.inject(&packet(number), &Injection::default());
            self.model.walk(number, None);
        }
    }

    fn pass(&mut self, index: usize, limit: usize, sent: u8) {
        let mut batch = oxidivert::batch::Batch::new();
        let handle = &self.handles[index];
        let outcome = handle.receive(&mut batch, limit, oxidivert::engine::Wait::Poll);
        assert_eq!(outcome.is_ok(), self.model.handles[index].is_open);
        if outcome.is_err() {
            return;
        }
        let expected = self.model.receive(index, limit);
        assert_eq!(ports(&batch), expected);
        let mask: Vec<bool> = (0..batch.len()).map(|at| sent >> (at % 8) & 1 == 1).collect();
        handle.send(&batch, Some(&mask)).expect("it sends");
        for (number, _) in expected.into_iter().zip(&mask).filter(|(_, is_sent)| **is_sent) {
            self.model.walk(number, Some(index));
        }
    }

    fn run(&mut self, step: &Step) {
        let index_of = |handle: &usize| handle % self.handles.len().max(1);
        match step {
            Step::Open { priority, mode, below, passes } => self.open(*priority, *mode, *below, *passes),
            Step::Feed { count } => self.feed(*count),
            Step::Advance { milliseconds } => {
                self.model.now += milliseconds;
                self.engine.advance(Duration::from_millis(*milliseconds)).expect("the clock is stepped");
            }
            _ if self.handles.is_empty() => {}
            Step::Pass { handle, limit, sent } => self.pass(index_of(handle), *limit, *sent),
            Step::Send { handle, count } => {
                let index = index_of(handle);
                for _ in 0..*count {
                    let number = self.new_number();
                    let sent = self.handles[index].send(&new_packet(&packet(number), &final_address()), None);
                    if sent.is_ok() {
                        self.model.walk(number, Some(index));
                    }
                }
            }
            Step::SetFilter { handle, below } => {
                let index = index_of(handle);
                let filter = options(&filter(*below), Layer::Network, 0, DIVERT).filter;
                if self.handles[index].set_filter(&filter).is_ok() {
                    self.model.handles[index].below = *below;
                }
            }
            Step::Limit { handle, length } => {
                let index = index_of(handle);
                if self.handles[index].set_parameter(Parameter::QueueLength, *length).is_ok() {
                    self.model.handles[index].length = *length as usize;
                }
            }
            Step::Shutdown { handle } => {
                let index = index_of(handle);
                if self.handles[index].shutdown(Shutdown::Receive).is_ok() {
                    self.model.handles[index].captures = false;
                }
            }
            Step::Close { handle } => {
                let index = index_of(handle);
                if self.model.handles[index].is_open {
                    self.model.close(index);
                }
                self.handles[index].close();
            }
        }
    }
}

fn step() -> BoxedStrategy<Step> {
    let mode = prop_oneof![4 => Just(Mode::Divert), 2 => Just(Mode::Sniff), 1 => Just(Mode::Drop)];
    let handle = any::<usize>();
    prop_oneof![
        3 => (-2..3_i16, mode, 0..11_u16, any::<bool>())
            .prop_map(|(priority, mode, below, passes)| Step::Open { priority, mode, below, passes }),
        6 => (1..60_u8).prop_map(|count| Step::Feed { count }),
        8 => (handle, 1..80_usize, any::<u8>()).prop_map(|(handle, limit, sent)| Step::Pass { handle, limit, sent }),
        2 => (handle, 1..9_u8).prop_map(|(handle, count)| Step::Send { handle, count }),
        1 => (handle, 0..11_u16).prop_map(|(handle, below)| Step::SetFilter { handle, below }),
        2 => (handle, 32..50_u64).prop_map(|(handle, length)| Step::Limit { handle, length }),
        2 => prop_oneof![1..2500_u64, Just(1000)].prop_map(|milliseconds| Step::Advance { milliseconds }),
        1 => handle.prop_map(|handle| Step::Shutdown { handle }),
        1 => handle.prop_map(|handle| Step::Close { handle }),
    ]
    .boxed()
}

proptest! {
    #[test]
    fn the_engine_does_what_the_model_does(steps in vec(step(), 1..60)) {
        let mut pair = Pair::default();
        for step in &steps {
            pair.run(step);
            prop_assert_eq!(delivered_ports(&pair.engine), std::mem::take(&mut pair.model.delivered));
        }
        for index in 0..pair.handles.len() {
            pair.run(&Step::Close { handle: index });
        }
        prop_assert_eq!(delivered_ports(&pair.engine), pair.model.delivered);
    }
}
