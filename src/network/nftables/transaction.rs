//! Changes to tables of nf_tables that the kernel makes all at once or not at all (linux/netfilter/nf_tables.h).
//!
//! A transaction works in one table after the other. What it adds may be there already, as long as it is the same; what
//! it deletes must be there.

use super::rule::Rule;
use crate::sys::netlink::{
    Attributes, Batch, Family, Refusal, Socket, attribute, attributes, flags,
};
use std::time::Duration;

const BATCH_BEGIN: u16 = 16;
const BATCH_END: u16 = 17;
const SUBSYSTEM: u16 = 10;
const NEW_TABLE: u16 = 0;
const DELETE_TABLE: u16 = 2;
const NEW_CHAIN: u16 = 3;
pub(super) const GET_CHAIN: u16 = 4;
const NEW_RULE: u16 = 6;
pub(super) const GET_RULE: u16 = 7;
const DELETE_RULE: u16 = 8;
const NEW_SET: u16 = 9;
const NEW_ELEMENT: u16 = 12;
pub(super) const GET_ELEMENT: u16 = 13;
const DELETE_ELEMENT: u16 = 14;

const SET_INTERVAL: u32 = 0x4;
const SET_MAP: u32 = 0x8;
const SET_TIMEOUT: u32 = 0x10;
const SET_EVALUATED: u32 = 0x20;
const SET_CONCAT: u32 = 0x80;
const ELEMENT_INTERVAL_END: u32 = 1;
/// Elements of one message are in one attribute, which is below 64 KiB.
const ELEMENTS_MAX: usize = 60_000;

/// A table: a name in one family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Table<'a> {
    /// Which packets it sees.
    pub family: u8,
    /// Its name.
    pub name: &'a str,
}

impl<'a> Table<'a> {
    /// Packets of IPv4 and IPv6 (NFPROTO_INET).
    pub const fn inet(name: &'a str) -> Self {
        Self { family: 1, name }
    }

    /// Frames that come to a bridge (NFPROTO_BRIDGE).
    pub const fn bridge(name: &'a str) -> Self {
        Self { family: 7, name }
    }

    /// Frames that an interface gets and sends (NFPROTO_NETDEV).
    pub const fn device(name: &'a str) -> Self {
        Self { family: 5, name }
    }
}

/// Where the kernel calls a chain (NF_INET_*, which are the same numbers in all families).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// Everything that comes in.
    Prerouting = 0,
    /// What is for this machine.
    Input = 1,
    /// What goes through.
    Forward = 2,
    /// What this machine sends.
    Output = 3,
    /// Everything that goes out.
    Postrouting = 4,
}

/// Which chain is called first at the same place: lower numbers (NF_IP_PRI_*).
pub mod priority {
    /// Before addresses are translated.
    pub const MANGLE: i32 = -150;
    /// Where destinations are translated.
    pub const DESTINATION: i32 = -100;
    /// Where packets are filtered.
    pub const FILTER: i32 = 0;
    /// Where sources are translated.
    pub const SOURCE: i32 = 100;
}

/// A chain that the kernel calls; the policy is to accept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hook {
    /// `filter` or `nat`.
    pub kind: &'static str,
    /// Where.
    pub at: At,
    /// When, see [`priority`].
    pub priority: i32,
}

/// A field of keys and values, by the numbers that `nft` shows them with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// `ipv4_addr`.
    Ipv4 = 7,
    /// `ipv6_addr`.
    Ipv6 = 8,
    /// `ether_addr`.
    Mac = 9,
    /// `inet_proto`.
    Protocol = 12,
    /// `inet_service`.
    Port = 13,
    /// `ifname`.
    Interface = 41,
}

impl Field {
    /// In bytes.
    fn length(self) -> u32 {
        match self {
            Self::Protocol => 1,
            Self::Port => 2,
            Self::Ipv4 => 4,
            Self::Mac => 6,
            Self::Ipv6 | Self::Interface => 16,
        }
    }
}

/// A set, or a map if it has values. The fields of keys and values each take a multiple of four bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Set {
    /// Its name.
    pub name: &'static str,
    /// Of the keys.
    pub key: &'static [Field],
    /// Of the values; none for a set.
    pub value: &'static [Field],
    /// Whether elements are ranges of keys.
    pub ranges: bool,
    /// Whether elements can end by themselves.
    pub ends: bool,
    /// How many elements rules may add; 0: they add none.
    pub room: u32,
}

impl Set {
    /// A set of single keys.
    pub const fn of(name: &'static str, key: &'static [Field]) -> Self {
        Self {
            name,
            key,
            value: &[],
            ranges: false,
            ends: false,
            room: 0,
        }
    }

    /// A map of single keys.
    pub const fn map(name: &'static str, key: &'static [Field], value: &'static [Field]) -> Self {
        Self {
            value,
            ..Self::of(name, key)
        }
    }

    fn write(&self, set: &mut Attributes<'_>) {
        let bytes = |fields: &[Field]| fields.iter().map(|field| padded(*field)).sum::<u32>();
        // `nft` reads the types of several fields from six bits each.
        let kind = |fields: &[Field]| {
            fields
                .iter()
                .fold(0, |kind, field| kind << 6 | *field as u32)
        };
        let length = |fields: &[Field]| match fields {
            [field] => field.length(),
            fields => bytes(fields),
        };
        let concatenated = self.ranges && self.key.len() > 1;
        let flags = [
            (self.ranges, SET_INTERVAL),
            (!self.value.is_empty(), SET_MAP),
            (self.ends, SET_TIMEOUT),
            (self.room > 0, SET_EVALUATED),
            (concatenated, SET_CONCAT),
        ];
        let flags = flags.iter().filter(|(on, _)| *on).map(|(_, bit)| bit).sum();
        set.text(2, self.name)
            .be32(3, flags)
            .be32(4, kind(self.key))
            .be32(5, length(self.key))
            .be32(10, 1);
        if let [Field::Interface] = self.key {
            // For `nft`: what it shows is a text, not a number of the network's byte order (NFTNL_UDATA_SET_KEYBYTEORDER).
            set.bytes(13, &[[0, 4].as_slice(), &1u32.to_ne_bytes()].concat());
        }
        if !self.value.is_empty() {
            set.be32(6, kind(self.value)).be32(7, length(self.value));
        }
        if self.room > 0 {
            set.nest(9, |description| {
                description.be32(1, self.room);
            });
        }
        if concatenated {
            set.nest(9, |description| {
                description.nest(2, |fields| {
                    for field in self.key {
                        fields.nest(1, |one| {
                            one.be32(1, field.length());
                        });
                    }
                });
            });
        }
    }
}

fn padded(field: Field) -> u32 {
    field.length().next_multiple_of(4)
}

/// An element of a set or map. Made by [`Key`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Element {
    /// The key, or the first one of a range.
    pub key: Key,
    /// The last one of a range.
    pub last: Option<Key>,
    /// What a map has for it.
    pub value: Option<Key>,
    /// When it ends by itself.
    pub ends_after: Option<Duration>,
}

impl From<Key> for Element {
    fn from(key: Key) -> Self {
        Self {
            key,
            ..Self::default()
        }
    }
}

/// The bytes of the fields of a key or value.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Key(Vec<u8>);

impl Key {
    /// Without fields yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an interface's name.
    #[must_use]
    pub fn interface(self, name: &str) -> Self {
        self.field(name.as_bytes(), 16)
    }

    /// Adds an address, a MAC address, or other bytes.
    #[must_use]
    pub fn bytes(self, bytes: &[u8]) -> Self {
        self.field(bytes, bytes.len())
    }

    /// Adds a protocol's number.
    #[must_use]
    pub fn protocol(self, number: u8) -> Self {
        self.field(&[number], 1)
    }

    /// Adds a port.
    #[must_use]
    pub fn port(self, port: u16) -> Self {
        self.field(&port.to_be_bytes(), 2)
    }

    fn field(mut self, bytes: &[u8], length: usize) -> Self {
        let end = self.0.len() + length.next_multiple_of(4);
        self.0.extend_from_slice(bytes);
        self.0.resize(end, 0);
        self
    }

    /// As the kernel has it: a single field is not filled up.
    fn of(&self, fields: &[Field]) -> &[u8] {
        match fields {
            [field] => &self.0[..field.length() as usize],
            _ => &self.0,
        }
    }

    /// The key behind this one: where a range of a single field ends.
    fn next(&self, fields: &[Field]) -> Option<Vec<u8>> {
        let mut bytes = self.of(fields).to_vec();
        for byte in bytes.iter_mut().rev() {
            *byte = byte.wrapping_add(1);
            if *byte != 0 {
                return Some(bytes);
            }
        }
        None
    }
}

/// Changes that are made together.
#[derive(Clone, Debug)]
pub struct Transaction<'a> {
    batch: Batch,
    table: Table<'a>,
}

impl<'a> Transaction<'a> {
    /// Without changes yet, in a table.
    pub fn new(table: Table<'a>) -> Self {
        let mut batch = Batch::default();
        batch.message(BATCH_BEGIN, 0, &generic(0, SUBSYSTEM), |_| {});
        Self { batch, table }
    }

    /// What follows is in another table.
    pub fn within(&mut self, table: Table<'a>) -> &mut Self {
        self.table = table;
        self
    }

    /// Adds the table.
    pub fn add_table(&mut self) -> &mut Self {
        self.change(NEW_TABLE, flags::CREATE, |_| {})
    }

    /// Adds the table so that nobody changes it but who has this socket; it stays when that is closed (NFT_TABLE_F_OWNER,
    /// NFT_TABLE_F_PERSIST of Linux 6.9).
    pub fn add_table_of_socket(&mut self) -> &mut Self {
        const OWNER: u32 = 0x2;
        const PERSIST: u32 = 0x4;
        self.change(NEW_TABLE, flags::CREATE, |table| {
            table.be32(2, OWNER | PERSIST);
        })
    }

    /// Deletes the table, which must be there, with all that is in it.
    pub fn delete_table(&mut self) -> &mut Self {
        self.change(DELETE_TABLE, 0, |_| {})
    }

    /// Adds a chain: one that the kernel calls, or one that rules jump to.
    pub fn add_chain(&mut self, name: &str, hook: Option<Hook>) -> &mut Self {
        self.change(NEW_CHAIN, flags::CREATE, |chain| {
            chain.text(3, name);
            if let Some(hook) = hook {
                chain
                    .nest(4, |place| {
                        place.be32(1, hook.at as u32).be32(2, hook.priority as u32);
                    })
                    .text(7, hook.kind);
            }
        })
    }

    /// Adds a chain of [`Table::device`] for what an interface gets, or for what it sends (NF_NETDEV_*).
    pub fn add_device_chain(&mut self, name: &str, interface: &str, sends: bool) -> &mut Self {
        self.change(NEW_CHAIN, flags::CREATE, |chain| {
            chain
                .text(3, name)
                .nest(4, |place| {
                    place
                        .be32(1, u32::from(sends))
                        .be32(2, priority::FILTER as u32)
                        .text(3, interface);
                })
                .text(7, "filter");
        })
    }

    /// Deletes all rules of all chains of the table.
    pub fn flush_rules(&mut self) -> &mut Self {
        self.change(DELETE_RULE, 0, |_| {})
    }

    /// Adds a rule behind those of a chain.
    pub fn add_rule(&mut self, chain: &str, rule: &Rule) -> &mut Self {
        self.change(NEW_RULE, flags::CREATE | flags::APPEND, |message| {
            message.text(2, chain);
            rule.write(message);
        })
    }

    /// Adds a set or map.
    pub fn add_set(&mut self, set: &Set) -> &mut Self {
        self.change(NEW_SET, flags::CREATE, |message| set.write(message))
    }

    /// Adds elements.
    pub fn add(&mut self, set: &Set, elements: &[Element]) -> &mut Self {
        self.elements(NEW_ELEMENT, flags::CREATE, set, elements)
    }

    /// Deletes elements.
    pub fn delete(&mut self, set: &Set, elements: &[Element]) -> &mut Self {
        self.elements(DELETE_ELEMENT, 0, set, elements)
    }

    /// Makes the changes.
    pub fn commit(mut self, socket: &Socket) -> Result<(), Refusal> {
        self.batch
            .message(BATCH_END, 0, &generic(0, SUBSYSTEM), |_| {});
        socket.apply(&self.batch)
    }

    fn elements(&mut self, kind: u16, flags: u16, set: &Set, elements: &[Element]) -> &mut Self {
        let key = set.key.iter().map(|field| padded(*field)).sum::<u32>() as usize;
        let value = set.value.iter().map(|field| padded(*field)).sum::<u32>() as usize;
        // Headers of attributes, a timeout, and what a range of a single field has twice.
        let one = 2 * (key + 16) + value + 48;
        for some in elements.chunks(ELEMENTS_MAX / one) {
            self.change(kind, flags, |message| {
                message.text(2, set.name).nest(3, |list| {
                    some.iter()
                        .for_each(|element| write_element(list, set, element));
                });
            });
        }
        self
    }

    fn change(
        &mut self,
        kind: u16,
        flags: u16,
        attributes: impl FnOnce(&mut Attributes<'_>),
    ) -> &mut Self {
        let table = self.table;
        message(&mut self.batch, table, kind, flags, attributes);
        self
    }
}

fn write_element(list: &mut Attributes<'_>, set: &Set, element: &Element) {
    let value = |attributes: &mut Attributes<'_>, kind: u16, bytes: &[u8]| {
        attributes.nest(kind, |data| {
            data.bytes(1, bytes);
        });
    };
    list.nest(1, |one| {
        value(one, 1, element.key.of(set.key));
        if let Some(found) = &element.value {
            value(one, 2, found.of(set.value));
        }
        if let Some(time) = element.ends_after {
            one.bytes(4, &(time.as_millis() as u64).to_be_bytes());
        }
        if let (Some(last), [_, _, ..]) = (&element.last, set.key) {
            value(one, 10, last.of(set.key));
        }
    });
    // A range of a single field ends with an element of its own, unless it goes to the last key of all.
    if let (Some(last), [_]) = (&element.last, set.key)
        && let Some(next) = last.next(set.key)
    {
        list.nest(1, |end| {
            value(end, 1, &next);
            end.be32(3, ELEMENT_INTERVAL_END);
        });
    }
}

/// Adds one message of nf_tables to a batch that is no transaction: a question.
pub(super) fn message(
    batch: &mut Batch,
    table: Table<'_>,
    kind: u16,
    flags: u16,
    attributes: impl FnOnce(&mut Attributes<'_>),
) {
    let header = generic(table.family, 0);
    batch.message(SUBSYSTEM << 8 | kind, flags, &header, |message| {
        if !table.name.is_empty() {
            message.text(1, table.name);
        }
        attributes(message);
    });
}

/// Whether there is an element with that key; no table and no set have none.
pub(super) fn has_element(
    socket: &Socket,
    table: Table<'_>,
    set: &Set,
    key: &Key,
) -> Result<bool, Refusal> {
    let mut question = Batch::default();
    message(&mut question, table, GET_ELEMENT, 0, |message| {
        message.text(2, set.name).nest(3, |list| {
            write_element(list, set, &key.clone().into());
        });
    });
    exists(socket, &question)
}

/// Whether there is a chain of that name.
pub(super) fn has_chain(socket: &Socket, table: Table<'_>, chain: &str) -> Result<bool, Refusal> {
    let mut question = Batch::default();
    message(&mut question, table, GET_CHAIN, 0, |message| {
        message.text(3, chain);
    });
    exists(socket, &question)
}

/// All elements of a set or map of single keys.
pub(super) fn list(socket: &Socket, table: Table<'_>, set: &Set) -> Result<Vec<Element>, Refusal> {
    let mut question = Batch::default();
    message(&mut question, table, GET_ELEMENT, flags::DUMP, |message| {
        message.text(2, set.name);
    });
    let answers = socket.ask(&question)?;
    let lists = answers
        .iter()
        .filter_map(|(_, answer)| attribute(answer.get(4..)?, 3));
    let elements = lists.flat_map(attributes).filter_map(|(_, element)| {
        let bytes = |kind| attribute(attribute(element, kind)?, 1);
        Some(Element {
            key: Key::new().bytes(bytes(1)?),
            value: bytes(2).map(|value| Key::new().bytes(value)),
            ..Element::default()
        })
    });
    Ok(elements.collect())
}

fn exists(socket: &Socket, question: &Batch) -> Result<bool, Refusal> {
    match socket.ask(question) {
        Ok(answers) => Ok(!answers.is_empty()),
        Err(refusal) if refusal.errno == rustix::io::Errno::NOENT => Ok(false),
        Err(refusal) => Err(refusal),
    }
}

/// A socket for transactions in the caller's network namespace.
pub fn socket() -> Result<Socket, Refusal> {
    Socket::open(Family::Netfilter)
}

/// `struct nfgenmsg`.
fn generic(family: u8, resource: u16) -> [u8; 4] {
    let [high, low] = resource.to_be_bytes();
    [family, 0, high, low]
}
