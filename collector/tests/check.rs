//! `store check` finds what was done to what is stored.

#![allow(clippy::allow_attributes, reason = "see `unwrap_used`")]
#![allow(clippy::unwrap_used, reason = "helpers of tests stand outside of test functions")]

mod support;

use deckport_collector::check::{Problem, check};
use deckport_protocol::Outcome;
use sqlx::Connection as _;
use std::path::Path;
use support::{Console, Run, config, eventually, finished, get, line, start};

/// Two runs, the first of which is in blocks.
async fn fill(dir: &Path) {
    let collector = start(dir).await;
    for (name, last) in [("Bay 1", true), ("Bay 2", false)] {
        let run = Run::new(name);
        let (mut console, _) = Console::greet(&collector, &run).await;
        for first in (1..=190).step_by(10) {
            console.send(run.batch(first..=first + 9)).await;
        }
        let mut seq = 190;
        if last {
            seq = 192;
            console.send(run.frame(&[line(191, "last"), finished(192, Outcome::Failed)])).await;
        }
        console.acked(seq).await;
    }
    eventually("the run that ended is in a block", async || {
        let (_, metrics) = support::text(&collector, "/metrics").await;
        metrics.contains("deckport_blocks 1\n")
    })
    .await;
    let (_, body) = get(&collector, "/api/v1/deployments").await;
    assert_eq!(body["deployments"].as_array().unwrap().len(), 2);
    collector.shutdown().await.unwrap();
}

async fn problems(dir: &Path, repair: bool) -> Vec<Problem> {
    let mut problems = Vec::new();
    let checked = check(&config(dir), repair, |problem| problems.push(problem.clone())).await;
    assert_eq!(checked.unwrap().streams, 2);
    problems
}

async fn spoil(dir: &Path, sql: &'static str) {
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(dir.join("collector.db"));
    let mut database = sqlx::SqliteConnection::connect_with(&options).await.unwrap();
    let done = sqlx::query(sql).execute(&mut database).await.unwrap();
    assert!(done.rows_affected() > 0, "{sql}");
    database.close().await.unwrap();
}

#[tokio::test]
async fn what_can_be_read_is_found_beside_what_cannot() {
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path()).await;
    spoil(dir.path(), "update block_part set text_part = zeroblob(100)").await;
    let collector = start(dir.path()).await;
    // Of two runs of the same lines, the one that is not in a block: line 7, and lines 70 to 79.
    let (status, page) = get(&collector, "/api/v1/search?q=%22line%207%22&count=true").await;
    assert_eq!(
        (status, &page["matched"], &page["progress"]["unreadable"]),
        (200, &11.into(), &1.into())
    );
    let (status, _) = get(&collector, "/api/v1/signatures").await;
    assert_eq!(status, 200);
    // In one log nothing may be left out in silence.
    let (_, body) = get(&collector, "/api/v1/deployments").await;
    let runs = body["deployments"].as_array().unwrap();
    let mut answers = Vec::new();
    for run in runs {
        let path = format!("/api/v1/deployments/{}/matches?q=line", run["id"].as_str().unwrap());
        answers.push(get(&collector, &path).await.0);
    }
    answers.sort_unstable();
    assert_eq!(answers, [200, 500]);
    collector.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_backup_that_is_taken_while_lines_come_holds_what_was_acknowledged_before() {
    use deckport_collector::store::{BackupError, backup};
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    fill(dir.path()).await;
    let collector = start(dir.path()).await;
    let run = Run::new("Bay 3");
    let (mut console, _) = Console::greet(&collector, &run).await;
    console.send(run.batch(1..=100)).await;
    console.acked(100).await;
    let to = other.path().join("collector.db");
    let coming = async {
        for first in (101..=1000).step_by(10) {
            console.send(run.batch(first..=first + 9)).await;
        }
        console.acked(1000).await;
    };
    let (bytes, ()) = tokio::join!(backup(dir.path(), &to), coming);
    assert_eq!(bytes.unwrap(), std::fs::metadata(&to).unwrap().len());
    let names: Vec<_> = std::fs::read_dir(other.path()).unwrap().collect();
    assert_eq!(names.len(), 1, "{names:?}");
    // Nothing is replaced, and nothing is made of nothing.
    assert!(matches!(backup(dir.path(), &to).await, Err(BackupError::Exists(_))));
    let empty = tempfile::tempdir().unwrap();
    let nothing = backup(empty.path(), &empty.path().join("copy")).await;
    assert!(matches!(nothing, Err(BackupError::Nothing(_))));
    collector.shutdown().await.unwrap();

    let mut problems = Vec::new();
    let config = config(other.path());
    let checked = check(&config, false, |problem| problems.push(problem.clone())).await.unwrap();
    assert_eq!((checked.streams, problems), (3, vec![]));
    let collector = start(other.path()).await;
    let (_, body) = get(&collector, "/api/v1/deployments").await;
    let runs = body["deployments"].as_array().unwrap();
    let third = runs.iter().find(|run| run["console_name"] == "Bay 3" || run["name"] == "Bay 3");
    let rows = third.unwrap()["rows"].as_u64().unwrap();
    assert!((99..=999).contains(&rows), "{rows}");
    collector.shutdown().await.unwrap();
}

#[tokio::test]
async fn what_is_whole_is_called_whole_and_what_is_not_is_named() {
    let whole = tempfile::tempdir().unwrap();
    fill(whole.path()).await;
    assert_eq!(problems(whole.path(), false).await, []);
    let cases = [
        ("update block_part set text_part = zeroblob(100)", "the text cannot be unpacked"),
        ("update block_part set records_part = substr(records_part, 1, 20)", "the records cannot"),
        ("delete from block_part", "the parts of a block are not there"),
        ("delete from block", "were acknowledged and are not here"),
        (
            "update tail set payload = zeroblob(200) where id = (select max(id) from tail)",
            "a frame of the tail",
        ),
        (
            "delete from tail where id = (select min(id) + 2 from tail)",
            "the tail goes on at record",
        ),
        ("delete from tail", "were acknowledged and are not here"),
        ("update block set first_seq = 2", "records 1 to 1 are missing"),
    ];
    for (sql, expected) in cases {
        let dir = tempfile::tempdir().unwrap();
        std::fs::copy(whole.path().join("collector.db"), dir.path().join("collector.db")).unwrap();
        spoil(dir.path(), sql).await;
        let told = problems(dir.path(), false).await;
        let named = told.iter().any(|problem| problem.what.contains(expected));
        assert!(named, "{sql}: {told:#?}");
        // What is lost is not made up.
        assert!(problems(dir.path(), true).await.iter().any(|problem| !problem.repaired), "{sql}");
    }
    for (sql, expected) in [
        ("update block_filter set bits = zeroblob(length(bits))", "filter"),
        ("update block_filter set bits = zeroblob(7)", "no filter"),
        ("update block set errors = 7, last_at = 0", "summary"),
        ("update block set rows_count = 7, bytes = 1", "summary"),
        ("update block set first_row = 7", "goes on at row 7 and byte 0"),
        ("update block set first_byte = 70", "goes on at row 0 and byte 70"),
        ("update block_part set state_before = zeroblob(10)", "in front of a block"),
        ("update block_part set state_before = (select max(state_before) from tail)", "in front"),
        (
            "update tail set state_before = (select min(state_before) from tail) \
             where id = (select max(id) from tail)",
            "in front of a frame",
        ),
    ] {
        let dir = tempfile::tempdir().unwrap();
        std::fs::copy(whole.path().join("collector.db"), dir.path().join("collector.db")).unwrap();
        spoil(dir.path(), sql).await;
        let told = problems(dir.path(), false).await;
        assert!(
            told.len() == 1 && !told[0].repaired && told[0].what.contains(expected),
            "{sql}: {told:#?}"
        );
        let told = problems(dir.path(), true).await;
        assert!(told.len() == 1 && told[0].repaired, "{sql}: {told:#?}");
        assert_eq!(problems(dir.path(), false).await, [], "{sql}: it was not made anew");
    }
}

/// A run of several blocks, and what is in the tail behind them.
async fn fill_blocks(dir: &Path) {
    let mut config = config(dir);
    config.bounds.tail_bytes = 2000;
    let collector = deckport_collector::Collector::start(config).await.unwrap();
    let run = Run::new("Bay 1");
    let (mut console, _) = Console::greet(&collector, &run).await;
    for first in (1..=1990).step_by(10) {
        console.send(run.batch(first..=first + 9)).await;
    }
    console.acked(1990).await;
    eventually("there are some blocks", async || {
        let (_, metrics) = support::text(&collector, "/metrics").await;
        let blocks = metrics.lines().find_map(|line| line.strip_prefix("deckport_blocks "));
        blocks.is_some_and(|blocks| blocks.parse::<u64>().unwrap() > 4)
    })
    .await;
    collector.shutdown().await.unwrap();
}

async fn told(dir: &Path, repair: bool) -> Vec<Problem> {
    let mut problems = Vec::new();
    check(&config(dir), repair, |problem| problems.push(problem.clone())).await.unwrap();
    problems
}

#[tokio::test]
async fn a_block_in_the_wrong_place_is_put_right_and_speaks_for_itself_alone() {
    let whole = tempfile::tempdir().unwrap();
    fill_blocks(whole.path()).await;
    assert_eq!(told(whole.path(), false).await, []);
    for sql in [
        "update block set first_row = first_row + 3 where id = (select min(id) + 1 from block)",
        "update block set first_byte = first_byte - 1 where id = (select min(id) + 1 from block)",
        "update block set rows_count = 3, bytes = 4 where id = (select min(id) + 1 from block)",
        "update block_part set state_before = (select min(state_before) from block_part) \
         where block_id = (select min(id) + 1 from block)",
    ] {
        let dir = tempfile::tempdir().unwrap();
        std::fs::copy(whole.path().join("collector.db"), dir.path().join("collector.db")).unwrap();
        spoil(dir.path(), sql).await;
        for repair in [false, true] {
            let told = told(dir.path(), repair).await;
            assert!(told.len() == 1 && told[0].repaired == repair, "{sql}: {told:#?}");
            // Nothing is missing.
            assert!(!told[0].what.contains("missing"), "{sql}: {told:#?}");
        }
        assert_eq!(told(dir.path(), false).await, [], "{sql}: it was not made anew");
        let collector = start(dir.path()).await;
        let (_, found) = get(&collector, "/api/v1/search?q=line&count=true").await;
        assert_eq!(found["matched"], 1989, "{sql}");
        collector.shutdown().await.unwrap();
    }
    // Where one cannot be read, what is behind it is read on from the state that is kept there.
    let dir = tempfile::tempdir().unwrap();
    std::fs::copy(whole.path().join("collector.db"), dir.path().join("collector.db")).unwrap();
    let sql = "update block_part set text_part = zeroblob(10) where block_id = (select min(id) + 1 from block)";
    spoil(dir.path(), sql).await;
    let told = told(dir.path(), true).await;
    assert!(told.len() == 1 && told[0].what.contains("the text cannot"), "{told:#?}");
}

#[tokio::test]
async fn the_program_says_what_it_repaired_and_succeeds() {
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path()).await;
    let run = |arguments: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_deckport-collector"));
        command.args(["store", "check", "--data"]).arg(dir.path()).args(arguments);
        let output = command.output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    let (code, said) = run(&[]);
    assert!(code == Some(0) && said.ends_with(": all whole\n"), "{said}");
    spoil(dir.path(), "update block set errors = 7, rows_count = 1").await;
    spoil(dir.path(), "delete from block_filter").await;
    let (code, said) = run(&[]);
    assert!(code == Some(1) && said.ends_with(": 2 problems\n"), "{said}");
    let (code, said) = run(&["--repair"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(
        said.ends_with("2 things that were wrong were made anew; all is whole now\n"),
        "{said}"
    );
    let (code, said) = run(&["--json"]);
    assert!(code == Some(0) && said.contains("\"problems\": []"), "{said}");
    // What cannot be made anew is left, and told.
    spoil(dir.path(), "update block set errors = 7").await;
    spoil(dir.path(), "delete from tail").await;
    let (code, said) = run(&["--repair"]);
    assert!(code == Some(1) && said.ends_with("1 problems are left, 1 were repaired\n"), "{said}");
}

#[tokio::test]
async fn a_database_is_made_anew_without_the_space_that_nothing_stands_in() {
    use deckport_collector::store::{CompactError, backup, compact};
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    fill(dir.path()).await;
    let database = dir.path().join("collector.db");
    // As a former version made it.
    spoil_all(dir.path(), &["pragma auto_vacuum = none", "vacuum"]).await;
    spoil_all(dir.path(), &["create table ballast (bytes blob)"]).await;
    spoil(dir.path(), "insert into ballast values (randomblob(20000000))").await;
    spoil_all(dir.path(), &["drop table ballast"]).await;
    assert_eq!(mode(&database).await, 0);
    let collector = start(dir.path()).await;
    let running = compact(dir.path()).await;
    assert!(matches!(running, Err(CompactError::Running(_))), "{running:?}");
    collector.shutdown().await.unwrap();
    assert_eq!(mode(&database).await, 0, "a start changes nothing");

    let copy = other.path().join("copy.db");
    backup(dir.path(), &copy).await.unwrap();
    assert_eq!(mode(&copy).await, 2);

    let compacted = compact(dir.path()).await.unwrap();
    assert!(compacted.before > 20_000_000 && compacted.after < 1_000_000, "{compacted:?}");
    assert_eq!(std::fs::metadata(&database).unwrap().len(), compacted.after);
    assert_eq!(mode(&database).await, 2);
    let names: Vec<_> =
        std::fs::read_dir(dir.path()).unwrap().map(|f| f.unwrap().file_name()).collect();
    assert!(names.iter().all(|name| !name.to_string_lossy().contains("part")), "{names:?}");
    assert_eq!(problems(dir.path(), false).await, []);
    let empty = tempfile::tempdir().unwrap();
    assert!(matches!(compact(empty.path()).await, Err(CompactError::Copy(_))));
    let collector = start(dir.path()).await;
    let (_, body) = get(&collector, "/api/v1/deployments").await;
    assert_eq!(body["deployments"].as_array().unwrap().len(), 2);
    collector.shutdown().await.unwrap();
}

async fn spoil_all(dir: &Path, statements: &[&'static str]) {
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(dir.join("collector.db"));
    let mut database = sqlx::SqliteConnection::connect_with(&options).await.unwrap();
    for sql in statements {
        sqlx::query(*sql).execute(&mut database).await.unwrap();
    }
    database.close().await.unwrap();
}

/// `auto_vacuum`: 0 none, 2 incremental.
async fn mode(file: &Path) -> i64 {
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(file);
    let mut database = sqlx::SqliteConnection::connect_with(&options).await.unwrap();
    let mode = sqlx::query_scalar("pragma auto_vacuum").fetch_one(&mut database).await.unwrap();
    database.close().await.unwrap();
    mode
}

/// A byte that was changed by somebody who also made its checksum right: only the chain can tell.
#[tokio::test]
async fn a_record_that_was_changed_is_found_by_its_chain() {
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path()).await;
    let options =
        sqlx::sqlite::SqliteConnectOptions::new().filename(dir.path().join("collector.db"));
    let mut database = sqlx::SqliteConnection::connect_with(&options).await.unwrap();
    let packed: Vec<u8> = sqlx::query_scalar("select text_part from block_part")
        .fetch_one(&mut database)
        .await
        .unwrap();
    let mut text = zstd::decode_all(packed.as_slice()).unwrap();
    let at = text.windows(4).position(|window| window == b"last").unwrap();
    text[at] = b'L';
    let packed = zstd::encode_all(text.as_slice(), 3).unwrap();
    // With its length in the header, as ours have it.
    let packed = zstd::bulk::compress(&zstd::decode_all(packed.as_slice()).unwrap(), 3).unwrap();
    sqlx::query("update block_part set text_part = ?")
        .bind(packed)
        .execute(&mut database)
        .await
        .unwrap();
    database.close().await.unwrap();
    let told = problems(dir.path(), false).await;
    assert!(told.iter().any(|problem| problem.what.contains("chain")), "{told:#?}");
}
