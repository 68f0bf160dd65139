//! The oracle on Kafka.

use std::path::Path;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};

use crate::oracle::{self, Plan};
use crate::root;

/// Runs a plan, and checks what it leaves.
pub fn check(binary: &Path, plan: Plan) -> Result<()> {
    println!("{plan:?}");
    let (home, began) = (tempfile::tempdir()?, Instant::now());
    let say = |said: String| println!("{:7.1} s  {said}", began.elapsed().as_secs_f64());
    let finished =
        oracle::run(plan, binary, home.path(), &say).context("there has to be a Kafka: Java 17 and Maven")?;
    let wrong = finished.check(&root(), &say);
    if !wrong.is_empty() {
        let kept = home.keep();
        ensure!(wrong.is_empty(), "seed {}: {wrong:#?}; everything is in {}", plan.seed, kept.display());
    }
    ensure!(finished.aborted(&say) > 0, "no record was aborted, so nothing is shown of transactions");
    println!("equal, after {:?}", began.elapsed());
    Ok(())
}
