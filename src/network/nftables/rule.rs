//! What a rule of nf_tables is made of (linux/netfilter/nf_tables.h): expressions that load something into registers,
//! compare it, look it up, and at the end decide. One method adds one expression, in the order in which the kernel runs
//! them; a comparison that does not hold ends the rule.
//!
//! There are 16 registers of four bytes. A value takes as many as it needs, so a key of several parts is loaded part
//! after part, each at a multiple of four bytes.

use crate::sys::netlink::Attributes;
use std::time::Duration;

/// The number of the first register of four bytes (NFT_REG32_00).
const REGISTERS: u32 = 8;
/// The register of verdicts (NFT_REG_VERDICT).
const VERDICT: u32 = 0;

/// How two values are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compare {
    /// All bytes are the same.
    Equal = 0,
    /// Some are not.
    Unequal = 1,
}

/// Facts about a packet that are not in it (NFT_META_*).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meta {
    /// `meta protocol`: that of the frame, two bytes.
    Protocol = 1,
    /// `meta mark`.
    Mark = 3,
    /// `iif`: number of the interface it came in by, in the machine's byte order.
    InputIndex = 4,
    /// `iifname`: 16 bytes.
    InputName = 6,
    /// `oifname`: 16 bytes.
    OutputName = 7,
    /// `meta nfproto`: one byte, 2 for IPv4, 10 for IPv6.
    Family = 15,
    /// `meta l4proto`: one byte.
    Protocol4 = 16,
    /// `meta iifkind`: what kind of interface it came in by, 16 bytes; nothing goes on for hardware, which has none.
    InputKind = 26,
    /// `meta oifkind`: the same of the one it leaves by.
    OutputKind = 27,
}

/// Which header an offset counts from (NFT_PAYLOAD_*).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Header {
    /// Of the frame.
    Link = 0,
    /// Of the packet.
    Network = 1,
    /// Of TCP, UDP and their like.
    Transport = 2,
}

/// What becomes of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It goes on; other tables may still drop it.
    Accept,
    /// It is gone.
    Drop,
    /// Back to the chain that jumped here.
    Return,
    /// On in that chain, and back.
    Jump(String),
}

/// One rule: its expressions, ready to be sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rule(Vec<u8>);

impl Rule {
    /// One that applies to every packet and does nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Loads a fact.
    #[must_use]
    pub fn meta(self, register: u32, fact: Meta) -> Self {
        self.expression("meta", |data| {
            data.be32(1, REGISTERS + register).be32(2, fact as u32);
        })
    }

    /// Sets the packet's mark from a register.
    #[must_use]
    pub fn set_mark(self, register: u32) -> Self {
        self.expression("meta", |data| {
            data.be32(2, Meta::Mark as u32)
                .be32(3, REGISTERS + register);
        })
    }

    /// Loads bytes of the packet.
    #[must_use]
    pub fn payload(self, register: u32, header: Header, offset: u32, length: u32) -> Self {
        self.expression("payload", |data| {
            data.be32(1, REGISTERS + register)
                .be32(2, header as u32)
                .be32(3, offset)
                .be32(4, length);
        })
    }

    /// Loads fixed bytes.
    #[must_use]
    pub fn immediate(self, register: u32, value: &[u8]) -> Self {
        self.expression("immediate", |data| {
            data.be32(1, REGISTERS + register).nest(2, |value_of| {
                value_of.bytes(1, value);
            });
        })
    }

    /// Goes on only if a register compares so to fixed bytes.
    #[must_use]
    pub fn compare(self, register: u32, compare: Compare, value: &[u8]) -> Self {
        self.expression("cmp", |data| {
            data.be32(1, REGISTERS + register)
                .be32(2, compare as u32)
                .nest(3, |value_of| {
                    value_of.bytes(1, value);
                });
        })
    }

    /// Keeps only some bits of a register.
    #[must_use]
    pub fn mask(self, register: u32, mask: &[u8]) -> Self {
        self.expression("bitwise", |data| {
            data.be32(1, REGISTERS + register)
                .be32(2, REGISTERS + register)
                .be32(3, mask.len() as u32)
                .nest(4, |value| {
                    value.bytes(1, mask);
                })
                .nest(5, |value| {
                    value.bytes(1, &vec![0; mask.len()]);
                });
        })
    }

    /// Goes on only if the registers from that one on are in a set, or are not.
    #[must_use]
    pub fn lookup(self, register: u32, set: &str, inside: bool) -> Self {
        self.expression("lookup", |data| {
            data.text(1, set)
                .be32(2, REGISTERS + register)
                .be32(5, u32::from(!inside));
        })
    }

    /// Loads what a map has for the registers from `register` on into those from `into` on; goes on only if there is
    /// something.
    #[must_use]
    pub fn map(self, register: u32, map: &str, into: u32) -> Self {
        self.expression("lookup", |data| {
            data.text(1, map)
                .be32(2, REGISTERS + register)
                .be32(3, REGISTERS + into);
        })
    }

    /// Loads the state of the connection as bits of linux/netfilter/nf_conntrack_common.h, in the machine's byte order.
    #[must_use]
    pub fn connection_state(self, register: u32) -> Self {
        self.expression("ct", |data| {
            data.be32(1, REGISTERS + register).be32(2, 0);
        })
    }

    /// Loads `ct status`, in the machine's byte order.
    #[must_use]
    pub fn connection_status(self, register: u32) -> Self {
        self.expression("ct", |data| {
            data.be32(1, REGISTERS + register).be32(2, 2);
        })
    }

    /// Loads of what type the packet's destination is here (`fib daddr type`): RTN_* in the machine's byte order.
    #[must_use]
    pub fn destination_type(self, register: u32) -> Self {
        self.expression("fib", |data| {
            const RESULT_ADDRESS_TYPE: u32 = 3;
            const DESTINATION: u32 = 2;
            data.be32(1, REGISTERS + register)
                .be32(2, RESULT_ADDRESS_TYPE)
                .be32(3, DESTINATION);
        })
    }

    /// Loads the index of the interface by which the packet's source is reached, if that is the one by which it has come;
    /// otherwise 0 (`fib saddr . iif oif`).
    #[must_use]
    pub fn way_back(self, register: u32) -> Self {
        self.expression("fib", |data| {
            const RESULT_INTERFACE: u32 = 1;
            const SOURCE: u32 = 1;
            const BY_INPUT: u32 = 8;
            data.be32(1, REGISTERS + register)
                .be32(2, RESULT_INTERFACE)
                .be32(3, SOURCE | BY_INPUT);
        })
    }

    /// Gives the packet to the transparent listener of this machine at the port in a register, whatever its destination
    /// is. `family` is 2 or 10.
    #[must_use]
    pub fn transparent_proxy(self, family: u8, port: u32) -> Self {
        self.expression("tproxy", |data| {
            data.be32(1, family.into()).be32(3, REGISTERS + port);
        })
    }

    /// Leads the connection to the address and the port in registers instead. `family` is 2 or 10.
    #[must_use]
    pub fn destination(self, family: u8, address: u32, port: u32) -> Self {
        self.expression("nat", |data| {
            const DESTINATION: u32 = 1;
            data.be32(1, DESTINATION)
                .be32(2, family.into())
                .be32(3, REGISTERS + address)
                .be32(5, REGISTERS + port);
        })
    }

    /// Has the connection come from the address of the interface it leaves by.
    #[must_use]
    pub fn masquerade(self) -> Self {
        self.expression("masq", |_| {})
    }

    /// Answers by ICMP that this is administratively prohibited, and drops it.
    #[must_use]
    pub fn prohibit(self) -> Self {
        self.expression("reject", |data| {
            const UNREACHABLE: u32 = 2;
            const PROHIBITED: u8 = 3;
            data.be32(1, UNREACHABLE).bytes(2, &[PROHIBITED]);
        })
    }

    /// Adds the registers from that one on to a set, for a time. What is there already gets that time from now on where
    /// `again`, and keeps its own otherwise. Goes on only if there is room.
    #[must_use]
    pub fn remember(self, register: u32, set: &str, time: Duration, again: bool) -> Self {
        self.expression("dynset", |data| {
            data.text(1, set)
                .be32(3, u32::from(again))
                .be32(4, REGISTERS + register)
                .bytes(6, &(time.as_millis() as u64).to_be_bytes());
        })
    }

    /// Counts packets.
    #[must_use]
    pub fn counter(self) -> Self {
        self.expression("counter", |_| {})
    }

    /// Decides.
    #[must_use]
    pub fn verdict(self, verdict: &Verdict) -> Self {
        let (code, chain) = match verdict {
            Verdict::Drop => (0, None),
            Verdict::Accept => (1, None),
            Verdict::Jump(chain) => (-3, Some(chain)),
            Verdict::Return => (-5, None),
        };
        self.expression("immediate", |data| {
            data.be32(1, VERDICT).nest(2, |value| {
                value.nest(2, |verdict| {
                    verdict.be32(1, code as u32);
                    if let Some(chain) = chain {
                        verdict.text(2, chain);
                    }
                });
            });
        })
    }

    fn expression(mut self, name: &str, write: impl FnOnce(&mut Attributes<'_>)) -> Self {
        Attributes::to(&mut self.0).nest(1, |expression| {
            expression.text(1, name).nest(2, write);
        });
        self
    }

    /// Writes the list of expressions (NFTA_RULE_EXPRESSIONS).
    pub(super) fn write(&self, rule: &mut Attributes<'_>) {
        rule.nest(4, |list| {
            list.raw(&self.0);
        });
    }
}
