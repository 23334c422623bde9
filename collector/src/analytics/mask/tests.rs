use super::*;
use crate::analytics::status;
use proptest::prelude::*;

fn comparing(line: &str) -> String {
    mask(line, Purpose::Comparing)
}

fn grouping(line: &str) -> String {
    mask(line, Purpose::Grouping)
}

#[test]
fn moments() {
    for moment in [
        "2026-11-26T18:00:42.123Z",
        "2026-11-26 18:00:42,123 +0100",
        "2026/11/26 18:00:42",
        "26.11.2026 18:00",
        "26/Nov/2026:18:00:42 +0000",
        "Nov 26 18:00:42",
        "Nov  6 18:00:42.123",
        "Thu Nov 26 18:00:42 UTC 2026",
        "Thu Nov 26 18:00:42 2026",
        "Thu, 26 Nov 2026 18:00:42 GMT",
        "26 November 2026",
        "2026-11-26T18_00_42_123Z",
        "20261126T180042Z",
        "18:00:42",
        "6:00 PM",
        "17/06/09",
    ] {
        let line = format!("[{moment}] started");
        assert_eq!(comparing(&line), "[<*>] started", "{moment}");
        assert_eq!(grouping(&line), "[<*>] started", "{moment}");
    }
    assert_eq!(comparing("May the mon march sunday"), "May the mon march sunday");
}

#[test]
fn quantities() {
    for quantity in [
        "12ms",
        "3 s",
        "1m 12s",
        "1h2m3s",
        "2 minutes, 3 seconds",
        "53.1 kB",
        "1,234 kB",
        "1.2 MB/s",
        "12%",
        "12.5 %",
        "786 bytes (1.2 KB)",
        "1048576 bytes (1.0 MB, 1.0 MiB)",
        "10GiB",
        "350µs",
        "12345",
        "-7",
        "+3.5",
        "1,234,567",
        "3 hours",
    ] {
        assert_eq!(comparing(&format!("took {quantity}, fine")), "took <*>, fine", "{quantity}");
    }
    assert_eq!(
        comparing("Need to get 0 B/53.1 kB of archives."),
        "Need to get <*>/<*> of archives."
    );
    assert_eq!(comparing("Fetched 53.1 kB in 0s (1,234 kB/s)"), "Fetched <*> in <*> (<*>)");
}

#[test]
fn ids_and_addresses() {
    for id in [
        "550e8400-e29b-41d4-a716-446655440000",
        "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "a1b2c3d",
        "1234567",
        "0x7ffe12ab",
        "10.0.0.7",
        "10.0.0.7:8443",
        "10.0.0.0/24",
        "fe80::1",
        "::1".trim_start_matches(':'),
        "2001:db8::8a2e:370:7334",
        "00:1a:2b:3c:4d:5e",
        "aB3dE9xYz0",
        "a7x2k9q1",
    ] {
        assert_eq!(comparing(&format!("peer {id} gone")), "peer <*> gone", "{id}");
    }
    assert_eq!(comparing("sha512-Ab+/c0123456789abcdefg== x"), "sha512-<*> x");
    assert_eq!(comparing("sha256:9f86d081884c7d65 x"), "sha256:<*> x");
    assert_eq!(comparing("systemd[1234]: x /proc/99/fd"), "systemd[<*>]: x /proc/<*>/fd");
    assert_eq!(
        comparing("in /tmp/tmp.x7fGhJkLmn/a and /var/tmp/q."),
        "in /tmp/<*>/a and /var/tmp/<*>."
    );
    assert_eq!(comparing("worker-3 job_17 thread12"), "worker-<*> job_<*> thread<*>");
    assert_eq!(comparing("Get:12 http://deb x"), "Get:<*> http://deb x");
}

#[test]
fn versions_codes_and_names_stay_for_comparing() {
    for line in [
        "Unpacking hello (2.10-5) over (2.10-3+b1)",
        "Setting up libssl3t64:amd64 (3.5.1-1)",
        "gcc-12-base python3.11 x86_64 libfoo.so.6",
        "node v20.19.1, npm 10.2.4",
        "Python 3.11",
        "pip install foo==2.1",
        "exit code 1",
        "exited with status 137",
        "returned error: 404",
        "make: *** [all] Error 2",
        "3 errors, 0 failed",
        "ok (2.10)",
        "dead beef added faced decade",
    ] {
        assert_eq!(comparing(line), line);
    }
}

#[test]
fn they_go_for_grouping() {
    assert_eq!(
        grouping("Unpacking hello (2.10-5) over (2.10-3+b1)"),
        "Unpacking hello (<*>) over (<*>)"
    );
    assert_eq!(
        grouping("peer bay7.arcade.net:8443 gone, GET /a/b?c=1 HTTP/1.1"),
        "peer <*> gone, GET <*> HTTP/<*>"
    );
    assert_eq!(grouping("com.example.thing ok.done.failed"), "com.example.thing ok.done.failed");
    assert_eq!(grouping("worker3 eth0 exit code 12"), "worker<*> eth<*> exit code <*>");
}

#[test]
fn layout_does_not_matter() {
    assert_eq!(comparing("  a \t b\r"), "a b");
    assert_eq!(comparing("[#########....] 12%"), "[###...] <*>");
    assert_eq!(comparing("━━━━━━━╸ 12/53 ⠋"), "━ <*>/<*> ━");
}

#[test]
fn a_hostile_line_is_soon_done() {
    for part in ["1h", "1.", "1,111", "a1", "-", "<*", "1:", "f:", "Nov 1 ", "/tmp/", "1 ", "(1 B "]
    {
        let line = part.repeat(200_000 / part.len());
        let masked = comparing(&line);
        assert!(masked.len() <= 3 * line.len());
    }
}

/// Lines of what masks look for, glued together in any way.
fn pieces() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        "[ -~]{0,6}",
        "[0-9]{1,9}",
        "[0-9a-f]{4,12}",
        "[0-9]{1,3}[.:,/-][0-9]{1,4}",
        ".{0,3}",
        prop::sample::select(vec![
            "<*>",
            "<",
            ">",
            "*",
            "-",
            "+",
            " ",
            ".",
            "/tmp/",
            "2026-11-26",
            "18:00:42",
            "T",
            "Nov",
            " 26 ",
            "kB",
            "ms",
            "s",
            "%",
            "exit code ",
            "status=",
            "failed",
            " errors",
            "v1.2.3",
            "sha256:",
            "\u{1}",
            "━",
            "::",
            "version ",
            "GET /",
            "a.b.cd",
            "job_",
        ])
        .prop_map(str::to_owned),
    ];
    prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn masking_is_idempotent(line in pieces()) {
        for purpose in [Purpose::Comparing, Purpose::Grouping] {
            let once = mask(&line, purpose);
            prop_assert_eq!(mask(&once, purpose), once, "{:?} of {:?}", purpose, line);
        }
    }

    #[test]
    fn status_words_survive(words in prop::collection::vec("failed|FAILED|ok|denied|timeout|Error|removed|done", 1..6),
                            joints in prop::collection::vec("[ =:,.;|()]{1,2}|: 12 | 3ms ", 6)) {
        let line: String = words.iter().zip(&joints).map(|(word, joint)| format!("{word}{joint}")).collect();
        for purpose in [Purpose::Comparing, Purpose::Grouping] {
            let masked = mask(&line, purpose);
            let kept: Vec<&str> = status::words(&masked).map(|(range, _)| &masked[range]).collect();
            prop_assert_eq!(&kept, &words.iter().map(String::as_str).collect::<Vec<_>>());
        }
    }
}
