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
        ("update block set errors = 7, last_at = 0", "summary"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        std::fs::copy(whole.path().join("collector.db"), dir.path().join("collector.db")).unwrap();
        spoil(dir.path(), sql).await;
        let told = problems(dir.path(), true).await;
        assert!(
            told.len() == 1 && told[0].repaired && told[0].what.contains(expected),
            "{told:#?}"
        );
        assert_eq!(problems(dir.path(), false).await, [], "{sql}: it was not made anew");
    }
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
