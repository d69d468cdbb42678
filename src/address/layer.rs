//! Layers and events: the numbers, their names, and which belongs to which. One table each.

/// Makes a closed enumeration of byte values with its names.
macro_rules! numbered {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $value:literal, $text:literal;)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum $name { $($(#[$doc])* $variant = $value,)* }

        impl $name {
            /// Every value, in order of its number.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The value with this number, if there is one.
            pub const fn from_number(number: u8) -> Option<Self> {
                match number { $($value => Some(Self::$variant),)* _ => None }
            }

            /// The number, as in the address record.
            pub const fn number(self) -> u8 {
                self as u8
            }

            /// The name, as WinDivert spells it without its prefix.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }
        }
    };
}

numbered! {
    /// The part of the network stack that a handle listens at.
    #[derive(Default)]
    Layer {
        /// Packets to and from this host.
        #[default]
        Network = 0, "NETWORK";
        /// Packets that pass through this host.
        NetworkForward = 1, "NETWORK_FORWARD";
        /// Flows that begin and end.
        Flow = 2, "FLOW";
        /// Socket operations.
        Socket = 3, "SOCKET";
        /// Handles of the driver itself.
        Reflect = 4, "REFLECT";
    }
}

numbered! {
    /// What happened.
    #[derive(Default)]
    Event {
        /// A packet.
        #[default]
        NetworkPacket = 0, "NETWORK_PACKET";
        /// A flow began.
        FlowEstablished = 1, "FLOW_ESTABLISHED";
        /// A flow ended.
        FlowDeleted = 2, "FLOW_DELETED";
        /// A socket was bound.
        SocketBind = 3, "SOCKET_BIND";
        /// A socket connects.
        SocketConnect = 4, "SOCKET_CONNECT";
        /// A socket listens.
        SocketListen = 5, "SOCKET_LISTEN";
        /// A socket accepts.
        SocketAccept = 6, "SOCKET_ACCEPT";
        /// A socket was closed.
        SocketClose = 7, "SOCKET_CLOSE";
        /// A handle was opened.
        ReflectOpen = 8, "REFLECT_OPEN";
        /// A handle was closed.
        ReflectClose = 9, "REFLECT_CLOSE";
    }
}

impl Layer {
    /// Whether the layer carries packets rather than events.
    pub const fn has_packets(self) -> bool {
        matches!(self, Self::Network | Self::NetworkForward)
    }
}
