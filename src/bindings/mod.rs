//! The Python module `oxidivert._native`: convert, call, map the error. Decides nothing about packets.
#![expect(clippy::needless_pass_by_value, reason = "what PyO3's macros call must look so")]
mod address;
mod arrow;
mod batch;
mod buffer;
mod build;
mod callback;
mod column;
mod driver;
mod engine;
mod enums;
mod error;
mod event;
mod filter;
mod filter_source;
mod flow;
mod flow_table;
mod handle;
mod header;
mod helpers;
mod input;
mod ip;
mod items;
mod mask;
mod open;
mod outgoing;
mod packet;
mod process;
mod receive;
mod recycle;
mod reference;
mod replay;
mod run;
mod shared;
mod statistics;
mod value;
mod workers;

/// The compiled half of the package `oxidivert`.
#[pyo3::pymodule(gil_used = false)]
mod _native {
    #[pymodule_export]
    use super::address::{PyAddress, PyEndpointData, PyNetworkData, PyReflectData};
    #[pymodule_export]
    use super::batch::PyBatch;
    #[pymodule_export]
    use super::build::{icmp, icmp_echo, icmp_unreachable, other, reset, tcp, udp, unreachable};
    #[pymodule_export]
    use super::column::PyColumn;
    #[pymodule_export]
    use super::driver::{_driver_inventory, _driver_remove, _driver_start, _driver_stop, _service};
    #[pymodule_export]
    use super::engine::{PyEngine, PyEngineFlow};
    #[pymodule_export]
    use super::event::{PyFlowEvent, PyReflectEvent, PySocketEvent};
    #[pymodule_export]
    use super::filter::{PyFilter, PyTraceStep, filter_fields};
    #[pymodule_export]
    use super::flow::PyFlow;
    #[pymodule_export]
    use super::flow_table::{PyFlowRow, PyFlowTable};
    #[pymodule_export]
    use super::handle::{_run_passthrough, PyHandle};
    #[pymodule_export]
    use super::header::{PyIcmpHeader, PyIcmpv6Header, PyIpv4Header, PyIpv6Header, PyTcpHeader, PyUdpHeader};
    #[pymodule_export]
    use super::helpers::{
        PyParsedPacket, calc_checksums, compile_filter, decrement_ttl, eval_filter, format_filter, format_ipv4_address,
        format_ipv6_address, hash_packet, hton_ipv6_address, htonl, htonll, htons, ntoh_ipv6_address, ntohl, ntohll,
        ntohs, parse_batch, parse_ipv4_address, parse_ipv6_address, parse_packet,
    };
    #[pymodule_export]
    use super::mask::PyMask;
    #[pymodule_export]
    use super::open::open;
    #[pymodule_export]
    use super::packet::PyPacket;
    #[pymodule_export]
    use super::replay::PyReplay;
    #[pymodule_export]
    use super::statistics::PyStatistics;

    #[expect(non_upper_case_globals, reason = "the name that Python packages use")]
    #[pymodule_export]
    const __version__: &str = env!("CARGO_PKG_VERSION");
}
