//! Who has which connection, from the system's tables as it writes them. Knows no Windows.
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// TCP's protocol number.
pub(super) const TCP: u8 = 6;
/// UDP's protocol number.
pub(super) const UDP: u8 = 17;

/// One connection or bound socket of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Owned {
    pub(super) local: SocketAddr,
    /// The other side; `None` in tables of UDP, which has none.
    pub(super) remote: Option<SocketAddr>,
    /// 0 if the system does not tell.
    pub(super) process_id: u32,
}

/// Where in a row what lies: offsets in bytes.
struct Row {
    len: usize,
    local: usize,
    local_port: usize,
    remote: Option<(usize, usize)>,
    process_id: usize,
}

/// The row of `MIB_TCPROW_OWNER_PID`, `MIB_TCP6ROW_OWNER_PID`, `MIB_UDPROW_OWNER_PID`, `MIB_UDP6ROW_OWNER_PID`.
const fn row(protocol: u8, is_ipv6: bool) -> Row {
    match (protocol, is_ipv6) {
        (TCP, false) => Row { len: 24, local: 4, local_port: 8, remote: Some((12, 16)), process_id: 20 },
        (TCP, true) => Row { len: 56, local: 0, local_port: 20, remote: Some((24, 44)), process_id: 52 },
        (_, false) => Row { len: 12, local: 0, local_port: 4, remote: None, process_id: 8 },
        (_, true) => Row { len: 28, local: 0, local_port: 20, remote: None, process_id: 24 },
    }
}

/// The rows of a table, behind their number.
pub(super) fn parse(table: &[u8], protocol: u8, is_ipv6: bool) -> Vec<Owned> {
    let row = row(protocol, is_ipv6);
    let count = number(table, 0) as usize;
    let rows = table.get(4..).unwrap_or_default().chunks_exact(row.len).take(count);
    rows.map(|bytes| Owned {
        local: end(bytes, row.local, row.local_port, is_ipv6),
        remote: row.remote.map(|(address, port)| end(bytes, address, port, is_ipv6)),
        process_id: number(bytes, row.process_id),
    })
    .collect()
}

fn number(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).map_or(0, u32::from_le_bytes)
}

/// An address in network order, and a port in network order in the first two of its four bytes.
fn end(bytes: &[u8], address: usize, port: usize, is_ipv6: bool) -> SocketAddr {
    let field = |at: usize, len: usize| bytes.get(at..at + len).unwrap_or_default();
    let ip = if is_ipv6 {
        IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(field(address, 16)).unwrap_or_default()))
    } else {
        IpAddr::V4(Ipv4Addr::from(<[u8; 4]>::try_from(field(address, 4)).unwrap_or_default()))
    };
    SocketAddr::new(ip, <[u8; 2]>::try_from(field(port, 2)).map_or(0, u16::from_be_bytes))
}

/// The process that has this connection: exactly it, else a socket bound to its local end, else one bound to the port on all
/// addresses.
pub(super) fn owner(table: &[Owned], local: SocketAddr, remote: SocketAddr) -> Option<u32> {
    let is_bound = |owned: &Owned, ip: IpAddr| owned.local == SocketAddr::new(ip, local.port());
    let any = if local.is_ipv6() { IpAddr::V6(Ipv6Addr::UNSPECIFIED) } else { IpAddr::V4(Ipv4Addr::UNSPECIFIED) };
    let has_no_remote = |owned: &Owned| owned.remote.is_none_or(|remote| remote.port() == 0);
    let exact = table.iter().find(|owned| owned.local == local && owned.remote == Some(remote));
    let bound = || table.iter().find(|owned| has_no_remote(owned) && is_bound(owned, local.ip()));
    let anywhere = || table.iter().find(|owned| has_no_remote(owned) && is_bound(owned, any));
    exact.or_else(bound).or_else(anywhere).map(|owned| owned.process_id).filter(|id| *id != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp_row(local: (u8, u16), remote: (u8, u16), process_id: u32) -> Vec<u8> {
        let mut row = vec![5, 0, 0, 0];
        for (host, port) in [local, remote] {
            row.extend([10, 0, 0, host]);
            row.extend(port.to_be_bytes());
            row.extend([0xAA, 0xBB]);
        }
        row.extend(process_id.to_le_bytes());
        row
    }

    fn at(host: u8, port: u16) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, host], port))
    }

    #[test]
    fn connections_are_found_exactly_then_by_what_is_bound() {
        let mut table = vec![3, 0, 0, 0];
        table.extend(tcp_row((1, 80), (2, 5000), 11));
        table.extend(tcp_row((1, 80), (0, 0), 22));
        table.extend(tcp_row((1, 81), (2, 5000), 33));
        let table = parse(&table, TCP, false);
        assert_eq!(table.len(), 3);
        assert_eq!(owner(&table, at(1, 80), at(2, 5000)), Some(11));
        assert_eq!(owner(&table, at(1, 80), at(2, 5001)), Some(22));
        assert_eq!(owner(&table, at(1, 81), at(2, 5001)), None);
    }

    #[test]
    fn a_socket_of_udp_is_found_by_its_port_on_all_addresses() {
        let mut table = vec![1, 0, 0, 0];
        table.extend([0; 20]);
        table.extend([0, 53, 0, 0]);
        table.extend(44_u32.to_le_bytes());
        let table = parse(&table, UDP, true);
        let local: SocketAddr = "[2001:db8::1]:53".parse().unwrap();
        assert_eq!(owner(&table, local, "[2001:db8::2]:9".parse().unwrap()), Some(44));
        assert_eq!(owner(&table, at(1, 53), at(2, 9)), None);
    }

    #[test]
    fn a_table_that_is_cut_has_the_rows_that_are_whole() {
        assert_eq!(parse(&[], TCP, true), []);
        assert_eq!(parse(&[9, 0, 0, 0, 1, 2], UDP, false), []);
    }
}
