//! Who has which connection and which bound socket, as the driver's events tell it and the system's tables told at the
//! beginning. Knows no Windows.
use super::connections::{Owned, TCP, UDP};
use crate::address::{Address, Event, address_of};
use crate::batch::PacketRef;
use crate::packet::{fields::tcp, read};
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The most connections and the most bound ends that are remembered; beyond that all are forgotten, and events and waits
/// find them anew.
const KNOWN_MAX: usize = 1 << 16;
/// How long the last packets of a connection that has ended are still told whose they are, in milliseconds.
const LINGER_MS: u64 = 2000;

/// A connection as its local end sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Connection {
    protocol: u8,
    local: SocketAddr,
    remote: SocketAddr,
}

impl Connection {
    /// The connection that a packet belongs to, and whether the packet begins one. `None` for what has no ports, and for
    /// fragments, which do not all tell them.
    pub(super) fn of(packet: PacketRef<'_>) -> Option<(Self, bool)> {
        let PacketRef { bytes, layout, .. } = packet;
        let protocol = layout.protocol();
        if layout.is_fragment() || !matches!(protocol, TCP | UDP) {
            return None;
        }
        let (local, remote) = packet.ends()?;
        let has = |flag| read(bytes, layout, flag) == Some(1);
        Some((Self { protocol, local, remote }, has(tcp::SYN) && !has(tcp::ACK)))
    }
}

#[derive(Clone, Copy, Debug)]
struct Known {
    process_id: u32,
    /// When the connection ended, in ticks.
    ended_at: Option<i64>,
}

/// A socket that is bound to a local end.
#[derive(Clone, Copy, Debug)]
struct Bound {
    process_id: u32,
    /// Its number; 0 if it was found in the system's tables, which have none.
    endpoint_id: u64,
}

/// All that is known.
#[derive(Debug)]
pub(super) struct Sockets {
    connections: HashMap<Connection, Known>,
    bound: HashMap<(u8, SocketAddr), Vec<Bound>>,
    /// [`LINGER_MS`] in ticks.
    linger: u64,
}

impl Sockets {
    pub(super) fn new(ticks_per_millisecond: u64) -> Self {
        let linger = ticks_per_millisecond.saturating_mul(LINGER_MS);
        Self { connections: HashMap::new(), bound: HashMap::new(), linger }
    }

    /// Takes over what a table of the system tells.
    pub(super) fn note_table(&mut self, protocol: u8, table: &[Owned]) {
        for owned in table.iter().filter(|owned| owned.process_id != 0) {
            match owned.remote.filter(|remote| remote.port() != 0) {
                Some(remote) => self.connect(Connection { protocol, local: owned.local, remote }, owned.process_id),
                None => self.bind((protocol, owned.local), Bound { process_id: owned.process_id, endpoint_id: 0 }),
            }
        }
    }

    /// Takes over an event of layer FLOW or SOCKET.
    pub(super) fn note_event(&mut self, event: &Address, now: i64) {
        let end = |ip, port| {
            let ip = match address_of(ip) {
                // An address that the driver was not told is written so, whichever version it has.
                IpAddr::V6(Ipv6Addr::UNSPECIFIED) if !event.ipv6() => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
                ip => ip,
            };
            SocketAddr::new(ip, port)
        };
        let (protocol, process_id) = (event.protocol(), event.process_id());
        let local = end(event.local_addr(), event.local_port());
        let remote = end(event.remote_addr(), event.remote_port());
        let connection = Connection { protocol, local, remote };
        let bound = Bound { process_id, endpoint_id: event.endpoint_id() };
        if !matches!(protocol, TCP | UDP) || process_id == 0 {
            return;
        }
        match event.event() {
            Some(Event::FlowEstablished | Event::SocketConnect | Event::SocketAccept) => {
                self.connect(connection, process_id);
            }
            Some(Event::SocketBind | Event::SocketListen) => self.bind((protocol, local), bound),
            Some(Event::SocketClose) if remote.port() == 0 => self.release((protocol, local), bound),
            Some(Event::SocketClose | Event::FlowDeleted) => self.disconnect(&connection, process_id, now),
            _ => {}
        }
    }

    fn connect(&mut self, connection: Connection, process_id: u32) {
        if self.connections.len() >= KNOWN_MAX {
            self.connections.retain(|_, known| known.ended_at.is_none());
        }
        if self.connections.len() >= KNOWN_MAX {
            self.connections.clear();
        }
        self.connections.insert(connection, Known { process_id, ended_at: None });
    }

    /// A connection has ended, unless it is another process's by now.
    fn disconnect(&mut self, connection: &Connection, process_id: u32, now: i64) {
        let Some(known) = self.connections.get_mut(connection).filter(|known| known.process_id == process_id) else { return };
        if connection.protocol == TCP {
            // It is told of both by its socket and by its flow, and the last packets are on their way.
            known.ended_at.get_or_insert(now);
        } else {
            self.connections.remove(connection);
        }
    }

    fn bind(&mut self, end: (u8, SocketAddr), socket: Bound) {
        if self.bound.len() >= KNOWN_MAX {
            self.bound.clear();
        }
        let sockets = self.bound.entry(end).or_default();
        sockets.retain(|other| !other.is(&socket));
        sockets.push(socket);
    }

    /// A bound socket was closed. Of UDP that ends all that was exchanged over it, which nothing else tells at once.
    fn release(&mut self, end: (u8, SocketAddr), socket: Bound) {
        if let Some(sockets) = self.bound.get_mut(&end) {
            sockets.retain(|other| !other.is(&socket));
            if sockets.is_empty() {
                self.bound.remove(&end);
            }
        }
        if end.0 == UDP {
            let is_of_end = |local: SocketAddr| local.port() == end.1.port() && (end.1.ip().is_unspecified() || local == end.1);
            self.connections.retain(|connection, known| {
                connection.protocol != UDP || known.process_id != socket.process_id || !is_of_end(connection.local)
            });
        }
    }

    /// A connection begins: one between the same ends that has ended is another.
    pub(super) fn begin(&mut self, connection: &Connection) {
        if self.connections.get(connection).is_some_and(|known| known.ended_at.is_some()) {
            self.connections.remove(connection);
        }
    }

    /// The process that has a connection: told of exactly it, else the only one that is bound to its local end, else the only
    /// one bound to the port on all addresses.
    pub(super) fn find(&self, connection: &Connection, now: i64) -> Option<u32> {
        let known = self.connections.get(connection);
        let exact = known.filter(|known| known.ended_at.is_none_or(|at| now.abs_diff(at) <= self.linger));
        exact.map(|known| known.process_id).or_else(|| {
            let Connection { protocol, local, .. } = *connection;
            let at = |ip: IpAddr| self.only_one(&(protocol, SocketAddr::new(ip, local.port())));
            let any_v4 = || local.is_ipv4().then(|| at(Ipv4Addr::UNSPECIFIED.into())).flatten();
            // A socket that takes both versions is bound to IPv6's address.
            at(local.ip()).or_else(any_v4).or_else(|| at(Ipv6Addr::UNSPECIFIED.into()))
        })
    }

    /// The process of the sockets that are bound to an end; of several processes nobody knows which one it will be.
    fn only_one(&self, end: &(u8, SocketAddr)) -> Option<u32> {
        let (first, others) = self.bound.get(end)?.split_first()?;
        others.iter().all(|other| other.process_id == first.process_id).then_some(first.process_id)
    }
}

impl Bound {
    /// Whether both are the same socket: by number, or by process where the tables told none.
    const fn is(&self, other: &Self) -> bool {
        let has_no_number = self.endpoint_id == 0 || other.endpoint_id == 0;
        self.process_id == other.process_id && (has_no_number || self.endpoint_id == other.endpoint_id)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::packet::{Builder, Layout};

    /// The record of an event of process `process_id`; both ends in 10.0.0.0/8 as host and port.
    pub(in super::super) fn event(
        event: Event,
        protocol: u8,
        [local, remote]: [(u8, u16); 2],
        process_id: u32,
        endpoint_id: u64,
    ) -> Address {
        let words = |host: u8| if host == 0 { [0, 0xFFFF, 0, 0] } else { [0x0A00_0000 | u32::from(host), 0xFFFF, 0, 0] };
        let mut address = Address::default();
        address.set_event(event);
        address.set_protocol(protocol);
        address.set_process_id(process_id);
        address.set_endpoint_id(endpoint_id);
        address.set_local_addr(words(local.0));
        address.set_remote_addr(words(remote.0));
        address.set_local_port(local.1);
        address.set_remote_port(remote.1);
        address
    }

    fn connection(protocol: u8, local: (u8, u16), remote: (u8, u16)) -> Connection {
        let end = |(host, port)| SocketAddr::from(([10, 0, 0, host], port));
        Connection { protocol, local: end(local), remote: end(remote) }
    }

    const LOCAL: (u8, u16) = (1, 5000);
    const REMOTE: (u8, u16) = (2, 443);
    const NONE: (u8, u16) = (0, 0);

    #[test]
    fn each_event_that_tells_of_a_connection_tells_whose_it_is() {
        for told in [Event::FlowEstablished, Event::SocketConnect, Event::SocketAccept] {
            for protocol in [TCP, UDP] {
                let mut sockets = Sockets::new(1);
                let asked = connection(protocol, LOCAL, REMOTE);
                assert_eq!(sockets.find(&asked, 0), None);
                sockets.note_event(&event(told, protocol, [LOCAL, REMOTE], 44, 7), 0);
                assert_eq!(sockets.find(&asked, 0), Some(44));
                assert_eq!(sockets.find(&connection(protocol, REMOTE, LOCAL), 0), None, "the other end's");
                assert_eq!(sockets.find(&connection(protocol ^ TCP ^ UDP, LOCAL, REMOTE), 0), None);
            }
        }
        let mut sockets = Sockets::new(1);
        sockets.note_event(&event(Event::SocketConnect, 1, [LOCAL, REMOTE], 44, 7), 0);
        sockets.note_event(&event(Event::SocketConnect, TCP, [LOCAL, REMOTE], 0, 7), 0);
        assert!(sockets.connections.is_empty(), "no ports, or no process");
    }

    #[test]
    fn a_bound_socket_has_what_comes_to_its_port_unless_several_processes_share_it() {
        let mut sockets = Sockets::new(1);
        let asked = connection(TCP, (1, 80), (9, 6000));
        sockets.note_event(&event(Event::SocketListen, TCP, [(0, 80), NONE], 11, 1), 0);
        assert_eq!(sockets.find(&asked, 0), Some(11));
        // A socket that is bound to the address itself comes first.
        sockets.note_event(&event(Event::SocketBind, TCP, [(1, 80), NONE], 22, 2), 0);
        assert_eq!(sockets.find(&asked, 0), Some(22));
        sockets.note_event(&event(Event::SocketBind, TCP, [(1, 80), NONE], 33, 3), 0);
        assert_eq!(sockets.find(&asked, 0), Some(11), "two share it");
        sockets.note_event(&event(Event::SocketClose, TCP, [(1, 80), NONE], 33, 3), 0);
        assert_eq!(sockets.find(&asked, 0), Some(22));
        // Telling of a socket twice, as its bind and its listen do, is telling of one.
        sockets.note_event(&event(Event::SocketListen, TCP, [(1, 80), NONE], 22, 2), 0);
        sockets.note_event(&event(Event::SocketClose, TCP, [(1, 80), NONE], 22, 2), 0);
        assert_eq!(sockets.find(&asked, 0), Some(11));
        let mut unknown = event(Event::SocketBind, UDP, [(0, 53), NONE], 55, 5);
        unknown.set_local_addr([0; 4]);
        sockets.note_event(&unknown, 0);
        assert_eq!(sockets.find(&connection(UDP, (1, 53), (9, 6000)), 0), Some(55));
    }

    #[test]
    fn a_connection_of_tcp_that_ended_lingers_but_a_new_one_is_not_its() {
        let mut sockets = Sockets::new(10);
        let asked = connection(TCP, LOCAL, REMOTE);
        sockets.note_event(&event(Event::SocketConnect, TCP, [LOCAL, REMOTE], 44, 7), 0);
        sockets.note_event(&event(Event::SocketClose, TCP, [LOCAL, REMOTE], 44, 7), 100);
        sockets.note_event(&event(Event::FlowDeleted, TCP, [LOCAL, REMOTE], 44, 7), 200);
        assert_eq!(sockets.find(&asked, 100 + 20_000), Some(44));
        assert_eq!(sockets.find(&asked, 101 + 20_000), None);
        sockets.begin(&asked);
        assert_eq!(sockets.find(&asked, 101), None);
        sockets.note_event(&event(Event::SocketConnect, TCP, [LOCAL, REMOTE], 55, 8), 300);
        sockets.note_event(&event(Event::FlowDeleted, TCP, [LOCAL, REMOTE], 44, 7), 300);
        assert_eq!(sockets.find(&asked, 300), Some(55), "an end that is told late is not its");
    }

    #[test]
    fn closing_a_socket_of_udp_ends_what_was_exchanged_over_it() {
        let mut sockets = Sockets::new(10);
        for port in [443, 444] {
            sockets.note_event(&event(Event::SocketConnect, UDP, [LOCAL, (2, port)], 44, 7), 0);
        }
        sockets.note_event(&event(Event::SocketConnect, UDP, [(1, 5001), REMOTE], 44, 8), 0);
        sockets.note_event(&event(Event::SocketConnect, TCP, [LOCAL, REMOTE], 44, 9), 0);
        sockets.note_event(&event(Event::SocketClose, UDP, [(0, LOCAL.1), NONE], 44, 7), 0);
        assert_eq!(sockets.find(&connection(UDP, LOCAL, (2, 443)), 0), None);
        assert_eq!(sockets.find(&connection(UDP, LOCAL, (2, 444)), 0), None);
        assert_eq!(sockets.find(&connection(UDP, (1, 5001), REMOTE), 0), Some(44));
        assert_eq!(sockets.find(&connection(TCP, LOCAL, REMOTE), 0), Some(44));
    }

    #[test]
    fn what_the_tables_told_is_ended_by_events_without_a_number() {
        let mut sockets = Sockets::new(10);
        let end = |(host, port)| SocketAddr::from(([10, 0, 0, host], port));
        let any = SocketAddr::from(([0, 0, 0, 0], 80));
        let table = [
            Owned { local: end(LOCAL), remote: Some(end(REMOTE)), process_id: 44 },
            Owned { local: any, remote: Some(SocketAddr::from(([0, 0, 0, 0], 0))), process_id: 55 },
            Owned { local: end((1, 81)), remote: Some(end(REMOTE)), process_id: 0 },
        ];
        sockets.note_table(TCP, &table);
        assert_eq!(sockets.find(&connection(TCP, LOCAL, REMOTE), 0), Some(44));
        assert_eq!(sockets.find(&connection(TCP, (1, 81), REMOTE), 0), None);
        assert_eq!(sockets.find(&connection(TCP, (1, 80), REMOTE), 0), Some(55));
        sockets.note_event(&event(Event::SocketClose, TCP, [(0, 80), NONE], 55, 99), 0);
        assert_eq!(sockets.find(&connection(TCP, (1, 80), REMOTE), 0), None);
    }

    #[test]
    fn a_packet_tells_its_connection_by_its_direction() {
        let bytes = Builder::ipv4([10, 0, 0, 1], [10, 0, 0, 2]).udp(5000, 443).build().unwrap();
        let layout = Layout::parse(&bytes).unwrap();
        let mut address = Address::default();
        address.set_outbound(true);
        let of = |address: &Address| Connection::of(PacketRef { bytes: &bytes, layout: &layout, address });
        assert_eq!(of(&address), Some((connection(UDP, LOCAL, REMOTE), false)));
        address.set_outbound(false);
        assert_eq!(of(&address), Some((connection(UDP, REMOTE, LOCAL), false)));
    }

    #[test]
    fn memory_is_bounded() {
        let mut sockets = Sockets::new(10);
        for number in 0..KNOWN_MAX as u32 + 10 {
            let ends = [(1, number as u16), (number.to_be_bytes()[1], 443)];
            sockets.note_event(&event(Event::SocketConnect, TCP, ends, 44, 7), 0);
            sockets.note_event(&event(Event::SocketBind, TCP, [ends[0], NONE], 44, 7), 0);
        }
        assert!(sockets.connections.len() <= KNOWN_MAX);
        assert!(sockets.bound.len() <= KNOWN_MAX);
    }
}
