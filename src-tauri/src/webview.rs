//! What WebKitGTK is told before it starts: it reads its environment, and so do the processes that it starts. What somebody
//! has set there stays as it is, and names that a version of it does not know do nothing.

/// Names and values. [Decision 0028](../../docs/decisions/0028-garbage-is-collected-soon.md)
/// says what was measured.
#[cfg(target_os = "linux")]
const SETTINGS: [(&str, &str); 4] = [
    // Without this, several graphics drivers show an empty window.
    ("WEBKIT_DISABLE_DMABUF_RENDERER", "1"),
    // A log that is read makes garbage all the time. Collections of young objects alone keep whatever lived through one, and
    // the next waits until the heap has grown several times over: a page that holds 10 MB was let take 60. So everything is
    // collected each time, behind 8 MB or a third of what is held.
    ("JSC_useGenerationalGC", "false"),
    ("JSC_largeHeapSize", "8000000"),
    ("JSC_heapGrowthMaxIncrease", "0.3"),
];

/// To be called before anything else.
pub(crate) fn prepare() {
    #[cfg(target_os = "linux")]
    for (name, value) in SETTINGS {
        if std::env::var_os(name).is_none() {
            #[expect(
                unsafe_code,
                reason = "the first thing the process does: no other thread reads the environment yet"
            )]
            // SAFETY: see the reason above.
            unsafe {
                std::env::set_var(name, value);
            }
        }
    }
}
