//! A kind's objects in the order in which the API server lists them, whatever the order in which they
//! came: most come in order already; what does not is sorted block by block and merged.

use std::{cmp::Ordering, collections::VecDeque, vec::IntoIter};

use refloat_model::{GroupResource, ObjectName};

use super::{BLOCK, Block, Record, Spool, append};
use crate::EngineError;

/// Runs that are merged at once; each has one block in memory.
const FAN_IN: usize = 32;

/// The order of listings: by `namespace/name`, byte by byte.
pub(crate) fn listed_order(a: &ObjectName, b: &ObjectName) -> Ordering {
    if a.namespace == b.namespace {
        return a.name.cmp(&b.name);
    }
    let key = |name: &ObjectName| {
        let parts = [name.namespace.to_string(), "/".to_owned(), name.name.clone()];
        parts.concat()
    };
    key(a).cmp(&key(b))
}

/// Several sorted runs, merged while they are read.
pub(crate) struct Sorted(Vec<Run>);

/// Blocks whose records are in order from the first to the last.
struct Run {
    blocks: VecDeque<Block>,
    records: IntoIter<Record>,
    head: Option<Record>,
}

impl Run {
    /// Takes the head and puts the next record in its place.
    fn advance(&mut self, spool: &Spool) -> Result<Option<Record>, EngineError> {
        let mut next = self.records.next();
        while next.is_none()
            && let Some(block) = self.blocks.pop_front()
        {
            let mut records = spool.read(block)?;
            records.sort_by(|a, b| listed_order(&a.name, &b.name));
            self.records = records.into_iter();
            next = self.records.next();
        }
        Ok(std::mem::replace(&mut self.head, next))
    }
}

impl Sorted {
    fn over(spool: &Spool, runs: &[Vec<Block>]) -> Result<Self, EngineError> {
        let mut begun = Vec::with_capacity(runs.len());
        for blocks in runs {
            let mut run = Run {
                blocks: blocks.iter().copied().collect(),
                records: Vec::new().into_iter(),
                head: None,
            };
            run.advance(spool)?;
            begun.push(run);
        }
        Ok(Self(begun))
    }

    /// The next object, read from `spool`, which must be the one that the runs are in.
    pub(crate) fn next(&mut self, spool: &Spool) -> Result<Option<Record>, EngineError> {
        let mut least: Option<usize> = None;
        for (place, run) in self.0.iter().enumerate() {
            let Some(head) = &run.head else { continue };
            let before = |other: usize| {
                let other = self.0[other].head.as_ref();
                other.is_none_or(|other| listed_order(&head.name, &other.name).is_lt())
            };
            if least.is_none_or(before) {
                least = Some(place);
            }
        }
        match least {
            Some(place) => self.0[place].advance(spool),
            None => Ok(None),
        }
    }
}

impl Spool {
    /// A kind's objects in the order of listings. Call it when nothing is added any more. In memory
    /// are [`FAN_IN`] blocks, whatever the number of objects.
    pub(crate) fn sorted(&mut self, resource: &GroupResource) -> Result<Sorted, EngineError> {
        let Some(kind) = self.kinds.get(resource) else {
            return Ok(Sorted(Vec::new()));
        };
        let mut runs: Vec<Vec<Block>> = if kind.unordered {
            kind.blocks.iter().map(|block| vec![*block]).collect()
        } else {
            vec![kind.blocks.clone()]
        };
        while runs.len() > FAN_IN {
            let mut longer = Vec::new();
            for few in runs.chunks(FAN_IN) {
                longer.push(self.merge(few)?);
            }
            runs = longer;
        }
        Sorted::over(self, &runs)
    }

    /// Makes one run of several.
    fn merge(&mut self, runs: &[Vec<Block>]) -> Result<Vec<Block>, EngineError> {
        let mut sorted = Sorted::over(self, runs)?;
        let mut blocks = Vec::new();
        let mut buffer = Vec::new();
        while let Some(record) = sorted.next(self)? {
            append(&mut buffer, &record.name, &record.json);
            if buffer.len() >= BLOCK {
                blocks.push(self.write(&buffer)?);
                buffer.clear();
            }
        }
        if !buffer.is_empty() {
            blocks.push(self.write(&buffer)?);
        }
        Ok(blocks)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(spool: &mut Spool, kind: &GroupResource) -> Vec<ObjectName> {
        let mut sorted = spool.sorted(kind).unwrap();
        let mut names = Vec::new();
        while let Some(record) = sorted.next(spool).unwrap() {
            assert!(record.json.starts_with(record.name.name.as_bytes()));
            names.push(record.name);
        }
        names
    }

    #[test]
    fn comes_in_the_order_of_listings_whatever_the_order_it_came_in() {
        let kind = GroupResource::parse("pods");
        let mut expected: Vec<ObjectName> = (0..9_000)
            .map(|number| ObjectName::new(["a", "a-b", "b"][number % 3], format!("n{number:05}")))
            .collect();
        expected.sort_by(listed_order);
        for backwards in [false, true] {
            let mut spool = Spool::create().unwrap();
            let mut order = expected.clone();
            if backwards {
                order.reverse();
            }
            for name in &order {
                // Long enough for more blocks than are merged at once.
                let json = name.name.repeat(100);
                spool.add(&kind, name, json.as_bytes()).unwrap();
            }
            spool.seal().unwrap();
            assert!(spool.blocks(&kind).len() > FAN_IN);
            let found = names(&mut spool, &kind);
            assert!(found == expected, "backwards: {backwards}");
            assert_eq!(spool.inventory()[0].count, 9_000);
        }
        assert!(names(&mut Spool::create().unwrap(), &kind).is_empty());
    }

    #[test]
    fn a_slash_comes_after_a_dash_as_in_etcd() {
        let name = |namespace: &str| ObjectName::new(namespace, "x");
        assert!(listed_order(&name("a-b"), &name("a")).is_lt());
        assert!(listed_order(&name("a"), &name("a0")).is_lt());
    }
}
