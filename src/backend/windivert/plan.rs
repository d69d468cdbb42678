//! With which filter and flags the driver's handle is opened, so that the user's handle does what it should. Knows no Windows.
use crate::address::{Flags, Layer};
use crate::backend::{Error, ErrorCode, OpenOptions, Overload};
use crate::filter::Filter;

/// What the driver is given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) object: String,
    pub(super) flags: Flags,
    /// Whether it has to be known whose packets are. Those that are only passed on or dropped belong to no process of this host,
    /// or are shown to nobody.
    pub(super) observes: bool,
}

impl Plan {
    pub(super) fn new(options: &OpenOptions) -> Result<Self, Error> {
        let OpenOptions { filter, layer, flags, .. } = options;
        if options.on_overload == Overload::Pass {
            let message = "the WinDivert driver drops what does not fit into its queue; open with on_overload=\"drop\"";
            return Err(Error::new(ErrorCode::NotSupported, message));
        }
        let observes = options.track_processes
            && *layer == Layer::Network
            && !flags.has(Flags::SEND_ONLY)
            && !flags.has(Flags::DROP);
        if flags.has(Flags::SEND_ONLY) {
            // The driver would go on taking packets that nobody can ever receive.
            return Ok(Self { object: nothing(*layer)?, flags: *flags, observes });
        }
        if filter.superset_is_exact() || flags.has(Flags::SNIFF) {
            return Ok(Self { object: filter.object(), flags: *flags, observes });
        }
        if !layer.has_packets() {
            let message = format!(
                "on layer {} the driver itself decides what is refused, and it cannot decide by this filter: leave out what \
                 only the extended dialect has, or add the flag SNIFF",
                layer.name()
            );
            return Err(Error::new(ErrorCode::NotSupported, message));
        }
        // The driver hands over more than matches, and the rest must be sent on.
        let flags = Flags(flags.0 & !(Flags::DROP.0 | Flags::RECV_ONLY.0));
        Ok(Self { object: filter.object(), flags, observes })
    }
}

/// The object of a filter that matches nothing.
pub(super) fn nothing(layer: Layer) -> Result<String, Error> {
    let filter = Filter::compile("false", layer);
    let filter = filter.map_err(|error| Error::new(ErrorCode::InvalidParameter, error.to_string()))?;
    Ok(filter.object())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filter::Sets;
    use std::sync::Arc;

    fn plan(text: &str, layer: Layer, flags: Flags, on_overload: Overload) -> Result<Plan, ErrorCode> {
        let filter = Arc::new(Filter::compile_extended(text, layer, &Sets::default()).unwrap());
        let options = OpenOptions { filter, layer, priority: 0, flags, on_overload, track_processes: false };
        Plan::new(&options).map_err(|error| error.code())
    }

    /// A filter that the driver can only run in part.
    fn inexact() -> String {
        let ports: Vec<String> = (0..600).map(|port| (port * 2).to_string()).collect();
        format!("udp.DstPort in {{{}}}", ports.join(", "))
    }

    #[test]
    fn a_plain_filter_is_given_as_it_is() {
        let flags = Flags::SNIFF.with(Flags::FRAGMENTS);
        let expected = Filter::compile("tcp", Layer::Network).unwrap().object();
        assert_eq!(plan("tcp", Layer::Network, flags, Overload::Drop), Ok(Plan { object: expected, flags, observes: false }));
    }

    #[test]
    fn a_handle_that_only_sends_takes_nothing() {
        let nothing = Filter::compile("false", Layer::Network).unwrap().object();
        let given = plan("tcp", Layer::Network, Flags::SEND_ONLY, Overload::Drop).unwrap();
        assert_eq!(given, Plan { object: nothing, flags: Flags::SEND_ONLY, observes: false });
    }

    #[test]
    fn what_the_driver_cannot_decide_is_decided_here_and_so_must_be_sent_on() {
        for flags in [Flags::DROP, Flags::RECV_ONLY, Flags::default()] {
            let given = plan(&inexact(), Layer::Network, flags, Overload::Drop).unwrap();
            assert_eq!(given.flags, Flags::default());
        }
        let given = plan(&inexact(), Layer::Network, Flags::SNIFF, Overload::Drop).unwrap();
        assert_eq!(given.flags, Flags::SNIFF);
        let ports = inexact().replace("udp.DstPort", "localPort");
        let blocking = plan(&ports, Layer::Socket, Flags::RECV_ONLY, Overload::Drop);
        assert_eq!(blocking, Err(ErrorCode::NotSupported));
    }

    #[test]
    fn events_are_read_only_where_packets_of_this_host_s_processes_are_shown() {
        let observes = |layer, flags: Flags| {
            let filter = Arc::new(Filter::compile("true", layer).unwrap());
            let (priority, on_overload) = (0, Overload::Drop);
            let options = OpenOptions { filter, layer, priority, flags, on_overload, track_processes: true };
            Plan::new(&options).unwrap().observes
        };
        for flags in [Flags::default(), Flags::SNIFF, Flags::RECV_ONLY] {
            assert!(observes(Layer::Network, flags));
            assert!(!observes(Layer::NetworkForward, flags));
        }
        assert!(!observes(Layer::Network, Flags::DROP));
        assert!(!observes(Layer::Network, Flags::SEND_ONLY));
        assert!(!observes(Layer::Flow, Flags::SNIFF.with(Flags::RECV_ONLY)));
    }

    #[test]
    fn letting_pass_on_overload_is_refused() {
        assert_eq!(plan("tcp", Layer::Network, Flags::default(), Overload::Pass), Err(ErrorCode::NotSupported));
    }
}
