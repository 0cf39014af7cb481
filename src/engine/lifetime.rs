//! Which values can share a buffer: those that are not needed at the same time.

/// A value that lives in some buffer from its first to its last use.
struct Value {
    len: usize,
    first: usize,
    last: usize,
}

/// Values in the order in which they were added.
#[derive(Default)]
pub struct Values(Vec<Value>);

impl Values {
    /// A value of `len` that is first used at `time`; its number.
    pub fn new_at(&mut self, len: usize, time: usize) -> usize {
        self.0.push(Value { len, first: time, last: time });
        self.0.len() - 1
    }

    /// `value` is needed at `time`, too.
    pub fn used(&mut self, value: usize, time: usize) {
        self.0[value].last = self.0[value].last.max(time);
    }

    /// A buffer for each value, and the buffers' lengths: the largest values choose first, and share a buffer with
    /// values that live at other times.
    pub fn place(&self) -> (Vec<usize>, Vec<usize>) {
        let mut order: Vec<usize> = (0..self.0.len()).collect();
        order.sort_by_key(|v| std::cmp::Reverse(self.0[*v].len));
        let mut slots: Vec<(usize, Vec<usize>)> = Vec::new();
        let mut slot_of = vec![0; self.0.len()];
        for v in order {
            let apart = |other: &usize| self.0[*other].last < self.0[v].first || self.0[v].last < self.0[*other].first;
            let slot = slots.iter().position(|(_, tenants)| tenants.iter().all(apart)).unwrap_or(slots.len());
            if slot == slots.len() {
                slots.push((self.0[v].len, Vec::new()));
            }
            slots[slot].1.push(v);
            slot_of[v] = slot;
        }
        (slot_of, slots.into_iter().map(|(len, _)| len).collect())
    }
}
