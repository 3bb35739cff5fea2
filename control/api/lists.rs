//! Lists: ordered, paginated, without blocking the control thread.
//!
//! The configuration has no order, so a page consists of the smallest items after a name, found in one walk
//! that yields regularly. It is written in pieces, each one when the client has read the previous one.

use std::collections::BinaryHeap;
use std::sync::Arc;

use ringway_model::{App, Domain, Instance, limits};
use serde::Serialize;
use utoipa::ToSchema;

/// Items visited between two yields: some 100 µs.
const ITEMS_PER_TURN: usize = 1_000;
/// Approximate bytes of a piece of a list.
const PIECE_BYTES: usize = 32 * 1024;

/// An item with a name to sort by.
pub(crate) trait Named {
    /// The name.
    fn name(&self) -> &str;
}

impl Named for Arc<App> {
    fn name(&self) -> &str {
        self.id.as_str()
    }
}

impl Named for Arc<Instance> {
    fn name(&self) -> &str {
        self.id.as_str()
    }
}

impl Named for Arc<Domain> {
    fn name(&self) -> &str {
        self.name.as_str()
    }
}

/// A page of items.
#[derive(Debug)]
pub(crate) struct Selection<T> {
    /// The items, ordered by name.
    pub(crate) items: Vec<T>,
    /// The number of items that pass the filter.
    pub(crate) total: usize,
    /// The name after which the next page begins, if there is one.
    pub(crate) next: Option<String>,
}

/// Members after the items of a page.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PageTail {
    /// Number of items that pass the filters, on all pages.
    pub(crate) total: usize,
    /// Value of `after` for the next page; null on the last page.
    pub(crate) next: Option<String>,
    /// Revision of the configuration.
    pub(crate) revision: u64,
}

/// Ordered by name, for the heap.
struct ByName<T>(T);

impl<T: Named> PartialEq for ByName<T> {
    fn eq(&self, other: &Self) -> bool {
        self.0.name() == other.0.name()
    }
}

impl<T: Named> Eq for ByName<T> {}

impl<T: Named> PartialOrd for ByName<T> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<T: Named> Ord for ByName<T> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.name().cmp(other.0.name())
    }
}

/// Steps of a walk, which yields to other tasks of the thread.
#[derive(Debug, Default)]
pub(crate) struct Steps(usize);

impl Steps {
    /// Counts one item.
    pub(crate) async fn step(&mut self) {
        self.0 += 1;
        if self.0.is_multiple_of(ITEMS_PER_TURN) {
            crate::pause().await;
        }
    }
}

/// Selects the first `limit` items by name that follow `after` and pass the filter. Cost: one walk over all
/// items and memory for one page; yields to other tasks of the thread.
pub(crate) async fn select<'a, T: Named + Clone + 'a>(
    items: impl Iterator<Item = &'a T>,
    is_wanted: impl Fn(&T) -> bool,
    after: Option<&str>,
    limit: Option<usize>,
) -> Selection<T> {
    let limit = limit.unwrap_or(limits::PAGE_ITEMS_MAX);
    let mut page = BinaryHeap::new();
    let (mut total, mut beyond) = (0, 0);
    let mut steps = Steps::default();
    for item in items {
        steps.step().await;
        if !is_wanted(item) {
            continue;
        }
        total += 1;
        if after.is_some_and(|after| item.name() <= after) {
            continue;
        }
        beyond += 1;
        if page.len() < limit {
            page.push(ByName(item.clone()));
        } else if let Some(mut last) = page.peek_mut()
            && item.name() < last.0.name()
        {
            *last = ByName(item.clone());
        }
    }
    let items: Vec<T> = page.into_sorted_vec().into_iter().map(|item| item.0).collect();
    let next = items.last().filter(|_| beyond > items.len()).map(|item| item.name().to_owned());
    Selection { items, total, next }
}

/// A body that is written in pieces.
pub(crate) struct Pieces(Box<Write>);

type Write = dyn FnMut(&mut Vec<u8>) -> Progress;

/// Whether a body has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// More pieces follow.
    More,
    /// The body is complete.
    Done,
}

impl Pieces {
    /// Appends the next piece.
    pub(crate) fn write(&mut self, out: &mut Vec<u8>) -> Progress {
        (self.0)(out)
    }

    /// Creates the JSON of a page: `{"<name>":[…items…],"total":…,"next":…,"revision":…}`.
    pub(crate) fn page<T: 'static, V: Serialize>(
        name: &'static str,
        selection: Selection<T>,
        revision: u64,
        view: impl Fn(&T) -> V + 'static,
    ) -> Self {
        Self::page_with(name, selection, revision, |tail| tail, view)
    }

    /// Creates a page with further members after the items; `tail` receives the usual ones.
    pub(crate) fn page_with<T: 'static, V: Serialize, E: Serialize + 'static>(
        name: &'static str,
        selection: Selection<T>,
        revision: u64,
        tail: impl FnOnce(PageTail) -> E,
        view: impl Fn(&T) -> V + 'static,
    ) -> Self {
        let tail = tail(PageTail { total: selection.total, next: selection.next, revision });
        let mut items = selection.items.into_iter();
        let mut is_first = true;
        Self(Box::new(move |out| {
            let end = out.len() + PIECE_BYTES;
            if is_first {
                out.extend_from_slice(b"{\"");
                out.extend_from_slice(name.as_bytes());
                out.extend_from_slice(b"\":[");
            }
            while out.len() < end {
                let Some(item) = items.next() else {
                    out.extend_from_slice(b"],");
                    let tail = serde_json::to_vec(&tail).unwrap_or_default();
                    out.extend_from_slice(tail.strip_prefix(b"{").unwrap_or_default());
                    return Progress::Done;
                };
                if !std::mem::take(&mut is_first) {
                    out.push(b',');
                }
                // Writing to memory cannot fail, and no view has a map with keys other than strings.
                let _ = serde_json::to_writer(&mut *out, &view(&item));
            }
            Progress::More
        }))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::task::{Context, Poll, Waker};

    #[derive(Clone, Debug, PartialEq)]
    struct Item(String);

    impl Named for Item {
        fn name(&self) -> &str {
            &self.0
        }
    }

    fn ready<T>(future: impl Future<Output = T>) -> T {
        let mut future = std::pin::pin!(future);
        match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(value) => value,
            Poll::Pending => panic!("so few items need no pause"),
        }
    }

    fn items(names: &[&str]) -> Vec<Item> {
        names.iter().map(|name| Item((*name).to_owned())).collect()
    }

    fn names(selection: &Selection<Item>) -> Vec<&str> {
        selection.items.iter().map(|item| item.0.as_str()).collect()
    }

    #[test]
    fn pages_are_ordered_whole_and_disjoint() {
        let all = items(&["d", "a", "e", "c", "b"]);
        let mut after: Option<String> = None;
        let mut seen = Vec::new();
        loop {
            let page = ready(select(all.iter(), |_| true, after.as_deref(), Some(2)));
            assert_eq!(page.total, 5);
            seen.push(names(&page).join(""));
            match page.next {
                Some(next) => after = Some(next),
                None => break,
            }
        }
        assert_eq!(seen, ["ab", "cd", "e"]);
    }

    #[test]
    fn a_page_that_ends_with_the_list_has_no_next() {
        let all = items(&["b", "a"]);
        let page = ready(select(all.iter(), |_| true, None, Some(2)));
        assert_eq!((names(&page), page.next.clone()), (vec!["a", "b"], None));
        let page = ready(select(all.iter(), |_| true, Some("z"), Some(2)));
        assert_eq!((names(&page), page.total, page.next.clone()), (vec![], 2, None));
    }

    #[test]
    fn filters_come_before_pages() {
        let all = items(&["a1", "b1", "a2", "b2", "a3"]);
        let page = ready(select(all.iter(), |item| item.0.starts_with('a'), Some("a1"), Some(1)));
        assert_eq!((names(&page), page.total, page.next.as_deref()), (vec!["a2"], 3, Some("a2")));
    }

    #[test]
    fn pieces_make_one_document_whatever_their_number() {
        for count in [0, 1, 2, 5_000] {
            let all: Vec<Item> = (0..count).map(|n| Item(format!("item-{n:06}"))).collect();
            let selection = Selection { items: all, total: count, next: None };
            let mut pieces = Pieces::page("items", selection, 7, |item: &Item| item.0.clone());
            let mut out = Vec::new();
            let mut turns = 1;
            while pieces.write(&mut out) == Progress::More {
                turns += 1;
            }
            let json: serde_json::Value = serde_json::from_slice(&out).unwrap();
            assert_eq!(json["items"].as_array().unwrap().len(), count);
            assert_eq!(
                (&json["total"], &json["next"], &json["revision"]),
                (&count.into(), &serde_json::Value::Null, &7.into())
            );
            assert_eq!(turns > 1, out.len() > PIECE_BYTES, "{count} items took {turns} turns");
        }
    }
}
