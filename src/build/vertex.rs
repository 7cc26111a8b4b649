//! Numbers for whatever progress shows: steps that the builder adds by itself, and nodes of the graph.

use super::report::{Event, Reporter};

/// Gives numbers and passes events on.
pub struct Vertices<'a> {
    reporter: &'a mut dyn Reporter,
    next: usize,
    /// The numbers of nodes.
    nodes: Vec<usize>,
    /// Steps of the builder's own that may go on.
    own: Vec<(String, usize)>,
}

impl<'a> Vertices<'a> {
    /// None yet.
    pub fn new(reporter: &'a mut dyn Reporter) -> Self {
        Self {
            reporter,
            next: 0,
            nodes: Vec::new(),
            own: Vec::new(),
        }
    }

    /// A step of the builder's own: it begins now. The answer is its number.
    pub fn start(&mut self, name: &str) -> usize {
        let number = self.next;
        self.next += 1;
        self.reporter
            .tell(number, Event::Planned { name, inputs: &[] });
        self.reporter.tell(number, Event::Started);
        number
    }

    /// Likewise one that may come again: its number, and whether this is the first time.
    pub fn same(&mut self, name: &str) -> (usize, bool) {
        if let Some((_, number)) = self.own.iter().find(|(known, _)| known == name) {
            return (*number, false);
        }
        let number = self.start(name);
        self.own.push((name.to_owned(), number));
        (number, true)
    }

    /// Something about one of those.
    pub fn tell_own(&mut self, number: usize, event: Event<'_>) {
        self.reporter.tell(number, event);
    }

    /// The next node, which must come in their order.
    pub fn plan(&mut self, id: usize, name: &str, inputs: &[usize]) {
        debug_assert_eq!(id, self.nodes.len());
        let number = self.next;
        self.next += 1;
        let inputs: Vec<usize> = inputs.iter().map(|&input| self.nodes[input]).collect();
        self.nodes.push(number);
        let inputs = inputs.as_slice();
        self.reporter.tell(number, Event::Planned { name, inputs });
    }

    /// How often [`Vertices::tick`] is wanted while nothing happens.
    pub fn period(&self) -> Option<std::time::Duration> {
        self.reporter.period()
    }

    /// Time has passed.
    pub fn tick(&mut self) {
        self.reporter.tick();
    }

    /// All nodes come again, as steps of their own.
    pub fn again(&mut self) {
        self.nodes.clear();
    }

    /// Something about a node.
    pub fn tell(&mut self, id: usize, event: Event<'_>) {
        if let Some(&number) = self.nodes.get(id) {
            self.reporter.tell(number, event);
        }
    }
}
