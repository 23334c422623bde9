//! `store backup`, `store compact` and `store check`.

use deckport_collector::check::check as check_all;
use deckport_collector::config::{Config, Database};
use serde_json::json;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

pub(super) async fn backup(data: &Path, to: &Path) -> anyhow::Result<()> {
    eprintln!("copying to {} …", to.display());
    let bytes = deckport_collector::store::backup(data, to).await?;
    println!("{}: {:.1} MiB, whole", to.display(), bytes as f64 / f64::from(1 << 20));
    Ok(())
}

pub(super) async fn compact(data: &Path) -> anyhow::Result<()> {
    eprintln!("making the database in {} anew …", data.display());
    let compacted = deckport_collector::store::compact(data).await?;
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    let (before, after) = (mib(compacted.before), mib(compacted.after));
    println!("{before:.1} MiB before, {after:.1} MiB now");
    Ok(())
}

pub(super) async fn check(
    data: PathBuf,
    database: Option<Database>,
    repair: bool,
    as_json: bool,
) -> anyhow::Result<ExitCode> {
    let mut config = Config::new(data);
    config.database = database.unwrap_or(Database::InDirectory);
    let mut problems = Vec::new();
    let checked = check_all(&config, repair, |problem| {
        if !as_json {
            let place = match (problem.deployment.as_str(), problem.seq) {
                ("", _) => "the database".to_owned(),
                (run, seq) => format!("{run}, record {seq}"),
            };
            let done = if problem.repaired { " (made anew)" } else { "" };
            eprintln!("{place}: {}{done}", problem.what);
        }
        problems.push(problem.clone());
    })
    .await?;
    let mut out = std::io::stdout().lock();
    let open = problems.iter().filter(|problem| !problem.repaired).count();
    if as_json {
        let told = json!({
            "deployments": checked.streams, "blocks": checked.blocks, "records": checked.records,
            "rows": checked.rows, "bytes": checked.bytes, "problems": problems,
        });
        serde_json::to_writer_pretty(&mut out, &told)?;
        writeln!(out)?;
    } else {
        writeln!(
            out,
            "{} deployments, {} blocks, {} records, {} rows, {} bytes of output: {}",
            checked.streams,
            checked.blocks,
            checked.records,
            checked.rows,
            checked.bytes,
            match (open, problems.len()) {
                (0, 0) => "all whole".to_owned(),
                (0, 1) => "what was wrong was made anew; all is whole now".to_owned(),
                (0, made) =>
                    format!("{made} things that were wrong were made anew; all is whole now"),
                (open, all) if open < all =>
                    format!("{open} problems are left, {} were repaired", all - open),
                (open, _) => format!("{open} problems"),
            }
        )?;
    }
    Ok(if open == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
