//! A dense array that grows without moving what it has, and shrinks again.
//!
//! A vector that grows copies everything once in a while: with a million keys that is a pause.
//! Pages of fixed size stay where they are, and one that is empty is given back at once.

/// A dense array in pages.
pub(super) struct Pages<T> {
    pages: Vec<Vec<T>>,
}

impl<T> Pages<T> {
    const PAGE: usize = 1024;

    /// An empty array.
    pub fn new() -> Self {
        Self { pages: Vec::new() }
    }

    /// How many values there are.
    pub fn len(&self) -> usize {
        self.pages.last().map_or(0, |last| (self.pages.len() - 1) * Self::PAGE + last.len())
    }

    /// The value at an index that exists.
    pub fn get(&self, at: u32) -> &T {
        &self.pages[at as usize / Self::PAGE][at as usize % Self::PAGE]
    }

    /// The value at an index that exists, to change.
    pub fn get_mut(&mut self, at: u32) -> &mut T {
        &mut self.pages[at as usize / Self::PAGE][at as usize % Self::PAGE]
    }

    /// Adds a value at the end.
    pub fn push(&mut self, value: T) {
        match self.pages.last_mut() {
            Some(last) if last.len() < Self::PAGE => last.push(value),
            // The first page grows as a vector does: most tables hold few keys.
            None => self.pages.push(vec![value]),
            Some(_) => {
                let mut page = Vec::with_capacity(Self::PAGE);
                page.push(value);
                self.pages.push(page);
            }
        }
    }

    /// Takes a value out; the last one takes its place.
    pub fn swap_remove(&mut self, at: u32) -> T {
        let (page, within) = (at as usize / Self::PAGE, at as usize % Self::PAGE);
        let end = self.pages.len() - 1;
        let removed = if page == end {
            self.pages[end].swap_remove(within)
        } else {
            // A page that is empty is dropped at once, so the last one has an entry.
            let last = self.pages[end].len() - 1;
            let last = self.pages[end].swap_remove(last);
            std::mem::replace(&mut self.pages[page][within], last)
        };
        if self.pages[end].is_empty() {
            self.pages.pop();
        }
        removed
    }

    /// How many pages are held.
    #[cfg(test)]
    pub fn pages(&self) -> usize {
        self.pages.len()
    }
}
