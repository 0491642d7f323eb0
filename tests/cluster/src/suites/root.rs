//! The root of the mesh is changed while pods of two nodes talk: made known, used, and the one before trusted no more.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::load;
use super::upgrade::{set, under_load};
use super::world::World;
use crate::mesh::SYSTEM;
use crate::wait;

/// So that each step takes seconds, and all certificates are made anew meanwhile.
const SHORT: &str = "control.certTtl=40s,control.rootOverlap=40s";
const USUAL: &str = "control.certTtl=24h,control.rootOverlap=24h";
/// One step, and what it takes to be seen.
const STEP: Duration = Duration::from_secs(90);

pub(super) fn changed(world: &World) -> Result<String> {
    set(world, SHORT)?;
    let done = under_load(world, "root", || change(world));
    set(world, USUAL)?;
    let [fresh, kept] = done?;
    let (fresh, kept) = (load::none_failed(&fresh)?, load::none_failed(&kept)?);
    Ok(format!("{fresh}; {kept}"))
}

fn change(world: &World) -> Result<()> {
    let before = roots(world)?;
    ensure!(before.len() == 1, "{} roots to begin with", before.len());
    let secret = ["secret", "warren-ca", "--namespace", SYSTEM];
    let annotate = [&["annotate"], &secret[..], &["warren.dev/rotate-root=now"]];
    world.kubectl.run(&annotate.concat())?;
    wait::until("both roots", STEP, &[], || {
        let both = roots(world)?;
        Ok(both.len() == 2 && both.contains(&before[0]))
    })?;
    wait::until("the new root alone", 2 * STEP, &[], || {
        let now = roots(world)?;
        Ok(now.len() == 1 && now != before)
    })
}

/// What is trusted, as everybody in the cluster may read it.
fn roots(world: &World) -> Result<Vec<String>> {
    let all = world.value(SYSTEM, "configmap/warren-ca-root", ".data.*")?;
    let each = all.split("-----BEGIN CERTIFICATE-----").skip(1);
    Ok(each.map(|root| root.trim().to_owned()).collect())
}
