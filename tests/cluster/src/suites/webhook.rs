//! The API server asks the controller through its Service: a policy that cannot be read is refused before it is stored.

use anyhow::{Result, bail, ensure};

use super::world::{SOON, World};
use crate::wait::{self, Hopeless};

pub(super) fn run(world: &World) -> Result<String> {
    let space = world.enrolled("webhook")?;
    let wanted = "admission webhook \"objects.warren.dev\" denied the request: AuthorizationPolicy webhook/bad: \
        spec.rules[0].from[0].source.ipBlocks: `nonsense`";
    let mut said = String::new();
    wait::until("a refusal by the controller", SOON, &[], || {
        let Err(refused) = space.apply(include_str!("refused.yaml"), &[]) else {
            // So it goes while no controller answers.
            space.kubectl(&["delete", "authorizationpolicy", "bad"])?;
            bail!("it was stored");
        };
        said = format!("{refused:#}");
        if said.contains("denied the request") && !said.contains(wanted) {
            bail!(Hopeless(format!("refused in other words: {said}")));
        }
        ensure!(said.contains(wanted), "{said}");
        Ok(true)
    })?;
    let stored = space.kubectl(&["get", "authorizationpolicy", "-o=name"])?;
    ensure!(stored.trim().is_empty(), "stored all the same: {stored}");
    let words = said.find("admission webhook").unwrap_or_default();
    Ok(said[words..].trim().to_owned())
}
