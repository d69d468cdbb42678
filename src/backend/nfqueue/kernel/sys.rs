//! The system calls of this backend, each behind a safe function. Nothing here knows what the bytes mean.
//!
//! Every descriptor is closed on exec, and closed in a child that forks: what a handle owns in the kernel must not outlive
//! the process that opened it.
#![allow(unsafe_code, reason = "system calls; each block says why it is sound")]
use std::io::{Error, ErrorKind, Result};
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::sync::Once;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

/// How many descriptors of handles a process can have open.
const TRACKED_MAX: usize = 4096;
/// No descriptor.
const FREE: i32 = -1;

/// The descriptors that a forked child closes.
static TRACKED: [AtomicI32; TRACKED_MAX] = [const { AtomicI32::new(FREE) }; TRACKED_MAX];

/// How many times this process was forked into being: a descriptor of an earlier one is none any more.
static GENERATION: AtomicI32 = AtomicI32::new(0);

/// Runs in a forked child, where only what is safe in a signal handler may be called.
extern "C" fn close_in_child() {
    GENERATION.fetch_add(1, Ordering::Relaxed);
    for slot in &TRACKED {
        let fd = slot.swap(FREE, Ordering::Relaxed);
        if fd != FREE {
            // SAFETY: closing is allowed in a forked child, and the descriptor is one that a `Descriptor` of the parent owns,
            // which the child never closes again: it belongs to an earlier generation.
            unsafe { libc::close(fd) };
        }
    }
}

fn watch_forks() {
    static WATCH: Once = Once::new();
    WATCH.call_once(|| {
        // SAFETY: the function has the type that is asked for and lives as long as the program.
        unsafe { libc::pthread_atfork(None, None, Some(close_in_child)) };
    });
}

/// An open descriptor.
#[derive(Debug)]
pub(crate) struct Descriptor {
    fd: RawFd,
    slot: usize,
    generation: i32,
}

impl Descriptor {
    fn new(fd: OwnedFd) -> Result<Self> {
        watch_forks();
        let raw = fd.as_raw_fd();
        let claim = |slot: &AtomicI32| slot.compare_exchange(FREE, raw, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        let slot = TRACKED.iter().position(claim).ok_or(ErrorKind::QuotaExceeded)?;
        Ok(Self { fd: fd.into_raw_fd(), slot, generation: GENERATION.load(Ordering::Relaxed) })
    }

    /// Whether this process is a fork of the one that opened the descriptor, so that it is closed here.
    pub(crate) fn is_foreign(&self) -> bool {
        self.generation != GENERATION.load(Ordering::Relaxed)
    }

    /// The number, for as long as the descriptor lives.
    pub(crate) fn raw(&self) -> RawFd {
        if self.is_foreign() { FREE } else { self.fd }
    }
}

impl Drop for Descriptor {
    fn drop(&mut self) {
        if self.is_foreign() {
            return;
        }
        if let Some(slot) = TRACKED.get(self.slot) {
            slot.store(FREE, Ordering::Relaxed);
        }
        // SAFETY: the descriptor is open and nobody else owns it.
        drop(unsafe { OwnedFd::from_raw_fd(self.fd) });
    }
}

/// The result of a call that answers -1 on failure.
pub(super) fn check(answer: i64) -> Result<usize> {
    usize::try_from(answer).map_err(|_| Error::last_os_error())
}

pub(super) fn own(answer: i64) -> Result<Descriptor> {
    let fd = check(answer)? as RawFd;
    // SAFETY: the call succeeded and made a descriptor that nobody else knows.
    Descriptor::new(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Makes a socket.
pub(crate) fn socket(family: i32, kind: i32, protocol: i32) -> Result<Descriptor> {
    // SAFETY: the arguments are numbers.
    own(i64::from(unsafe { libc::socket(family, kind | libc::SOCK_CLOEXEC, protocol) }))
}

/// Makes an event counter that does not block; with `each`, every read takes one off.
pub(crate) fn event_counter(each: bool) -> Result<Descriptor> {
    let flags = libc::EFD_CLOEXEC | libc::EFD_NONBLOCK | if each { libc::EFD_SEMAPHORE } else { 0 };
    // SAFETY: the arguments are numbers.
    own(i64::from(unsafe { libc::eventfd(0, flags) }))
}

/// Adds to an event counter; adding nothing does nothing.
pub(crate) fn add_events(counter: &Descriptor, count: u64) {
    if count > 0 {
        // A counter that is full is readable as well, which is all that counts.
        drop(write(counter, &count.to_ne_bytes()));
    }
}

/// Reads an event counter; with nothing there, nothing happens.
pub(crate) fn take_events(counter: &Descriptor) {
    let mut count = [0; 8];
    // Nothing to be read is no failure.
    drop(read(counter, &mut count));
}

/// Writes bytes.
pub(super) fn write(fd: &Descriptor, bytes: &[u8]) -> Result<usize> {
    // SAFETY: the pointer and the length are those of a live slice.
    check(unsafe { libc::write(fd.raw(), bytes.as_ptr().cast(), bytes.len()) } as i64)
}

/// Reads bytes.
pub(super) fn read(fd: &Descriptor, buffer: &mut [u8]) -> Result<usize> {
    // SAFETY: the pointer and the length are those of a live slice that nobody else borrows.
    check(unsafe { libc::read(fd.raw(), buffer.as_mut_ptr().cast(), buffer.len()) } as i64)
}

/// Opens a netlink socket of netfilter, with an address of its own; `groups` are multicast groups by their numbers.
pub(crate) fn netlink(groups: &[u32]) -> Result<Descriptor> {
    netlink_of(libc::NETLINK_NETFILTER, groups)
}

/// Opens a netlink socket of another part of the kernel.
pub(crate) fn netlink_of(protocol: i32, groups: &[u32]) -> Result<Descriptor> {
    let socket = socket(libc::AF_NETLINK, libc::SOCK_RAW, protocol)?;
    // SAFETY: all zeroes are a valid address.
    let mut address: libc::sockaddr_nl = unsafe { std::mem::zeroed() };
    address.nl_family = libc::AF_NETLINK as u16;
    bind(&socket, &address)?;
    for group in groups {
        set_option(&socket, libc::SOL_NETLINK, libc::NETLINK_ADD_MEMBERSHIP, *group as i32)?;
    }
    Ok(socket)
}

/// Binds a socket to an address of the C library's.
pub(super) fn bind<T>(socket: &Descriptor, address: &T) -> Result<()> {
    let len = size_of::<T>() as libc::socklen_t;
    // SAFETY: the pointer and the length are those of a live value.
    check(i64::from(unsafe { libc::bind(socket.raw(), std::ptr::from_ref(address).cast(), len) })).map(|_| ())
}

/// Sets a socket option that is a number.
pub(crate) fn set_option(socket: &Descriptor, level: i32, name: i32, value: i32) -> Result<()> {
    set_option_bytes(socket, level, name, &value.to_ne_bytes())
}

/// Sets a socket option.
pub(super) fn set_option_bytes(socket: &Descriptor, level: i32, name: i32, value: &[u8]) -> Result<()> {
    let len = value.len() as libc::socklen_t;
    // SAFETY: the pointer and the length are those of a live slice.
    let answer = unsafe { libc::setsockopt(socket.raw(), level, name, value.as_ptr().cast(), len) };
    check(i64::from(answer)).map(|_| ())
}

/// Asks for a receive buffer of so many bytes, beyond the system's limit if the rights are there.
pub(crate) fn set_receive_buffer(socket: &Descriptor, len: i32) {
    if set_option(socket, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, len).is_err() {
        // A smaller buffer only loses sooner, which is counted.
        drop(set_option(socket, libc::SOL_SOCKET, libc::SO_RCVBUF, len));
    }
}

/// Asks for a send buffer of so many bytes, likewise.
pub(crate) fn set_send_buffer(socket: &Descriptor, len: i32) {
    if set_option(socket, libc::SOL_SOCKET, libc::SO_SNDBUFFORCE, len).is_err() {
        drop(set_option(socket, libc::SOL_SOCKET, libc::SO_SNDBUF, len));
    }
}

/// Sends bytes to the kernel or wherever the socket is connected to.
pub(crate) fn send(socket: &Descriptor, bytes: &[u8]) -> Result<usize> {
    // SAFETY: the pointer and the length are those of a live slice.
    check(unsafe { libc::send(socket.raw(), bytes.as_ptr().cast(), bytes.len(), libc::MSG_NOSIGNAL) } as i64)
}

/// Sends bytes to an address of the C library's.
pub(crate) fn send_to<T>(socket: &Descriptor, bytes: &[u8], address: &T) -> Result<usize> {
    let len = size_of::<T>() as libc::socklen_t;
    let address = std::ptr::from_ref(address).cast();
    // SAFETY: pointers and lengths are those of a live slice and a live value.
    let answer =
        unsafe { libc::sendto(socket.raw(), bytes.as_ptr().cast(), bytes.len(), libc::MSG_NOSIGNAL, address, len) };
    check(answer as i64)
}

/// Receives one message; with `wait`, blocks until there is one.
pub(crate) fn receive(socket: &Descriptor, buffer: &mut [u8], wait: bool) -> Result<usize> {
    let flags = if wait { 0 } else { libc::MSG_DONTWAIT };
    // SAFETY: the pointer and the length are those of a live slice that nobody else borrows.
    check(unsafe { libc::recv(socket.raw(), buffer.as_mut_ptr().cast(), buffer.len(), flags) } as i64)
}

/// What lies between messages, so that their beginnings do not all compete for the same few lines of the processor's caches, as
/// they would at a power of two: an odd number of lines, more than a small message has.
const STAGGER: usize = 9 * 64;

/// Buffers for many messages that are received in one call. Memory that no message reached is never touched.
pub(crate) struct Inbox {
    memory: Vec<u8>,
    /// Bytes from one message's place to the next one's.
    stride: usize,
    headers: Vec<libc::mmsghdr>,
    /// Where the headers point to; refreshed before each call.
    vectors: Vec<libc::iovec>,
    received: usize,
}

// SAFETY: the pointers inside lead into the inbox's own memory and are made anew for each call.
unsafe impl Send for Inbox {}

impl Inbox {
    /// Room for `count` messages of up to `message_len` bytes.
    pub(crate) fn new(count: usize, message_len: usize) -> Self {
        let stride = message_len + STAGGER;
        Self {
            memory: vec![0; count * stride],
            stride,
            headers: Vec::with_capacity(count),
            vectors: Vec::with_capacity(count),
            received: 0,
        }
    }

    /// Receives what is there, up to `limit` messages, without waiting; how many there were.
    pub(crate) fn fill(&mut self, socket: &Descriptor, limit: usize) -> Result<usize> {
        self.received = 0;
        self.headers.clear();
        self.vectors.clear();
        for chunk in self.memory.chunks_exact_mut(self.stride).take(limit.max(1)) {
            self.vectors.push(libc::iovec { iov_base: chunk.as_mut_ptr().cast(), iov_len: chunk.len() });
        }
        for vector in &mut self.vectors {
            // SAFETY: all zeroes are a valid header without anything in it.
            let mut header: libc::mmsghdr = unsafe { std::mem::zeroed() };
            header.msg_hdr.msg_iov = std::ptr::from_mut(vector);
            header.msg_hdr.msg_iovlen = 1;
            self.headers.push(header);
        }
        let count = self.headers.len() as u32;
        let headers = self.headers.as_mut_ptr();
        let no_limit = std::ptr::null_mut();
        // SAFETY: the headers name vectors over disjoint parts of the inbox's memory, which nobody else borrows.
        let answer = unsafe { libc::recvmmsg(socket.raw(), headers, count, libc::MSG_DONTWAIT as _, no_limit) };
        self.received = match check(i64::from(answer)) {
            Ok(received) => received,
            Err(error) if error.kind() == ErrorKind::WouldBlock || error.kind() == ErrorKind::Interrupted => 0,
            Err(error) => return Err(error),
        };
        Ok(self.received)
    }

    /// The message at `index` of those that the last call received.
    pub(crate) fn message(&self, index: usize) -> &[u8] {
        let header = self.headers.get(index).filter(|_| index < self.received);
        let len = header.map_or(0, |header| header.msg_len as usize);
        let start = index * self.stride;
        self.memory.get(start..start + len.min(self.stride)).unwrap_or_default()
    }
}

/// Waits until one of the descriptors can be read or the time is out; with `None` as long as it takes. A signal ends the
/// wait as well.
pub(crate) fn wait_readable(descriptors: &[&Descriptor], time: Option<Duration>) -> Result<()> {
    let mut waits: Vec<libc::pollfd> =
        descriptors.iter().map(|fd| libc::pollfd { fd: fd.raw(), events: libc::POLLIN, revents: 0 }).collect();
    let time = time.map(|time| libc::timespec {
        tv_sec: i64::try_from(time.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(time.subsec_nanos()),
    });
    let limit = time.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
    // SAFETY: the pointer and the length are those of a live vector; the limit is null or live.
    let answer = unsafe { libc::ppoll(waits.as_mut_ptr(), waits.len() as libc::nfds_t, limit, std::ptr::null()) };
    match check(i64::from(answer)) {
        Err(error) if error.kind() != ErrorKind::Interrupted => Err(error),
        _ => Ok(()),
    }
}

/// Whether a descriptor can be read now.
pub(crate) fn is_readable(fd: &Descriptor) -> bool {
    let mut wait = libc::pollfd { fd: fd.raw(), events: libc::POLLIN, revents: 0 };
    // SAFETY: the pointer is that of a live value.
    unsafe { libc::poll(&raw mut wait, 1, 0) > 0 }
}

/// The process's number, which a fork changes.
pub(crate) fn process_id() -> u32 {
    std::process::id()
}

/// A clock of the system's, in nanoseconds.
pub(crate) fn clock(id: libc::clockid_t) -> i64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is that of a live value. The clocks that are asked for exist in every kernel that is supported.
    unsafe { libc::clock_gettime(id, &raw mut time) };
    time.tv_sec.saturating_mul(1_000_000_000).saturating_add(time.tv_nsec)
}

/// The number that eBPF programs know this network namespace by.
pub(crate) fn namespace_cookie() -> Result<u64> {
    let socket = socket(libc::AF_INET, libc::SOCK_DGRAM, 0)?;
    let mut cookie = 0_u64;
    let mut len = size_of::<u64>() as libc::socklen_t;
    let value = std::ptr::from_mut(&mut cookie).cast();
    // SAFETY: the pointers are those of live values of the lengths that are told.
    check(i64::from(unsafe {
        libc::getsockopt(socket.raw(), libc::SOL_SOCKET, NAMESPACE_COOKIE, value, &raw mut len)
    }))?;
    Ok(cookie)
}

/// The socket option that tells it.
const NAMESPACE_COOKIE: i32 = 71;

/// Makes a descriptor that can be read while any of these can.
pub(crate) fn gather<'a>(descriptors: impl Iterator<Item = &'a Descriptor>) -> Result<Descriptor> {
    // SAFETY: the argument is a number.
    let gathered = own(i64::from(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) }))?;
    for fd in descriptors {
        let mut event = libc::epoll_event { events: libc::EPOLLIN as u32, u64: 0 };
        // SAFETY: both descriptors are open and the event is live.
        let answer = unsafe { libc::epoll_ctl(gathered.raw(), libc::EPOLL_CTL_ADD, fd.raw(), &raw mut event) };
        check(i64::from(answer))?;
    }
    Ok(gathered)
}
