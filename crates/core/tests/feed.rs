//! Feeds in a simulated world. Whatever happens, in whatever order, each mirror equals its view of
//! the tree at its revision, at every step. At the end all mirrors are at the present.

#[expect(dead_code, reason = "what other tests need")]
mod common;

use std::collections::BTreeMap;

use common::knobs::{Knobs, Stats};
use common::sim::Sim;
use common::{Rng, cases};

#[test]
fn every_mirror_is_its_view_of_the_tree_at_every_step() {
    let mut all = Stats::default();
    let whole = cases(50, |seed| {
        let mut rng = Rng::new(seed);
        let knobs = Knobs::any(&mut rng);
        let mut sim = Sim::new(rng, knobs);
        for _ in 0..3 {
            sim.run(3_000);
            sim.converge();
        }
        add(&mut all, &sim.stats);
    });
    println!("{all:?}");
    if !whole {
        return;
    }
    let ways: BTreeMap<_, _> = all.ways.clone();
    for why in ["no-cookie", "cookie", "epoch", "horizon", "resync", "outrun"] {
        assert!(ways.contains_key(why), "no refresh because of {why}: {ways:?}");
    }
    for (name, count) in [
        ("live deltas", all.live),
        ("folded deltas", all.folded),
        ("parts", all.parts),
        ("syncs", all.syncs),
        ("overflows", all.overflows),
        ("compactions", all.compactions),
        ("gaps", all.gaps),
        ("damaged copies", all.damaged),
        ("restores", all.restores),
        ("refreshes", all.fresh),
    ] {
        assert!(count > 5, "only {count} {name} in all cases: the simulation misses them");
    }
}

fn add(all: &mut Stats, one: &Stats) {
    let Stats { commits, live, folded, parts, syncs, overflows, compactions, .. } = one;
    all.commits += commits;
    all.live += live;
    all.folded += folded;
    all.parts += parts;
    all.syncs += syncs;
    all.overflows += overflows;
    all.compactions += compactions;
    all.gaps += one.gaps;
    all.damaged += one.damaged;
    all.restores += one.restores;
    all.fresh += one.fresh;
    for (why, count) in &one.ways {
        *all.ways.entry(why).or_default() += count;
    }
}
