//! What talks to Linux: system calls, netlink messages, eBPF programs and the memory that they write to, and what the kernel
//! refuses as errors of this crate. All `unsafe` of this backend is here.
//!
//! It knows nothing of handles or packets, and stands on no other room.
pub(super) mod egress;
pub(super) mod exchange;
pub(super) mod fault;
pub(super) mod netlink;
pub(super) mod ring;
pub(super) mod sys;
pub(super) mod sys_bpf;
pub(super) mod sys_link;
