//! This crate's enumerations as the crate `windivert` names them, and the record as `windivert-sys` lays it out.
use crate::address::{ADDRESS_LEN, Address, Flags, Layer, Parameter, Shutdown};
use windivert::prelude::{WinDivertFlags, WinDivertLayer, WinDivertParam, WinDivertShutdownMode};
use windivert_sys::address::WINDIVERT_ADDRESS;

// Records are handed to the library as they are.
const _: () = assert!(size_of::<Address>() == size_of::<WINDIVERT_ADDRESS>());
const _: () = assert!(align_of::<Address>() == align_of::<WINDIVERT_ADDRESS>());
const _: () = assert!(size_of::<WINDIVERT_ADDRESS>() == ADDRESS_LEN);

pub(super) const fn layer(layer: Layer) -> WinDivertLayer {
    match layer {
        Layer::Network => WinDivertLayer::Network,
        Layer::NetworkForward => WinDivertLayer::Forward,
        Layer::Flow => WinDivertLayer::Flow,
        Layer::Socket => WinDivertLayer::Socket,
        Layer::Reflect => WinDivertLayer::Reflect,
    }
}

pub(super) fn flags(flags: Flags) -> WinDivertFlags {
    let mut all = WinDivertFlags::new();
    for (flag, set) in [
        (Flags::SNIFF, WinDivertFlags::set_sniff as fn(WinDivertFlags) -> WinDivertFlags),
        (Flags::DROP, WinDivertFlags::set_drop),
        (Flags::RECV_ONLY, WinDivertFlags::set_recv_only),
        (Flags::SEND_ONLY, WinDivertFlags::set_send_only),
        (Flags::NO_INSTALL, WinDivertFlags::set_no_installs),
        (Flags::FRAGMENTS, WinDivertFlags::set_fragments),
    ] {
        if flags.has(flag) {
            all = set(all);
        }
    }
    all
}

pub(super) const fn shutdown(how: Shutdown) -> WinDivertShutdownMode {
    match how {
        Shutdown::Receive => WinDivertShutdownMode::Recv,
        Shutdown::Send => WinDivertShutdownMode::Send,
        Shutdown::Both => WinDivertShutdownMode::Both,
    }
}

pub(super) const fn parameter(parameter: Parameter) -> WinDivertParam {
    match parameter {
        Parameter::QueueLength => WinDivertParam::QueueLength,
        Parameter::QueueTime => WinDivertParam::QueueTime,
        Parameter::QueueSize => WinDivertParam::QueueSize,
        Parameter::VersionMajor => WinDivertParam::VersionMajor,
        Parameter::VersionMinor => WinDivertParam::VersionMinor,
    }
}
