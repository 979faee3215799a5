//! A million subscriptions.

use std::time::Duration;

use onetree_protocol::{ClientFrame, Path};

use super::super::args::Args;
use super::super::dialect::onetree::{self, Kind};
use super::super::figures::Figures;
use super::super::goal::Goal;
use super::super::load::Generator;
use super::super::scenario::Scenario;
use super::super::target::Target;

const CONNECTIONS: usize = 10_000;

/// The subscriptions of each connection.
const SUBSCRIPTIONS: usize = 100;

const TOPICS: usize = 100_000;

/// How many commits are measured.
const COMMITS: usize = 2000;

pub(crate) fn scenarios() -> Vec<Scenario> {
    vec![Scenario {
        name: "million".to_owned(),
        long: true,
        fits: |target| target.codec().is_some(),
        measure: Box::new(measure),
        goals: vec![Goal::most("bytes_per_subscription", 150.0), Goal::most("lost", 0.0)],
    }]
}

/// Returns the topic of a subscription. Ten connections have each topic.
fn topic(connection: usize, number: usize) -> Path {
    let topic = (connection * SUBSCRIPTIONS + number) % TOPICS;
    Path::parse(&format!("/many/g-{:03}/t-{topic:06}", topic / 1000)).expect("it is a path")
}

fn measure(args: &Args, target: Target) -> Result<Figures, String> {
    let mut figures = Figures::default();
    let count = args.count(CONNECTIONS, &mut figures);
    let codec = target.codec().expect("it is the broker");
    let server = target.start(&[])?;
    let mut generator = Generator::new();
    let rule = onetree::rule(codec);
    let publisher = generator.open(1, server.address, rule, |_| onetree::publisher(codec))?;
    let first = generator.open(count, server.address, rule, |connection| {
        let sub = onetree::sub(0, topic(connection, 0), None, false);
        onetree::subscriber(codec, vec![sub])
    })?;
    generator.until(Duration::from_secs(1), |_| false);
    let one_each = server.usage().resident;
    let begin = std::time::Instant::now();
    for connection in 0..count {
        let mut out = Vec::new();
        for number in 1..SUBSCRIPTIONS {
            let number_on_wire = u32::try_from(number).expect("there are few");
            let sub = onetree::sub(number_on_wire, topic(connection, number), None, false);
            out.extend_from_slice(&onetree::frame(codec, &ClientFrame::Sub(sub.into())));
        }
        let one = &mut generator.connections[first + connection];
        one.out.append(&mut out);
        one.flush();
        if connection % 64 == 0 {
            generator.turn(Some(Duration::ZERO));
        }
    }
    let more = (SUBSCRIPTIONS - 1) as u64;
    let whole = |generator: &Generator| {
        generator.connections[first..].iter().all(|one| one.received.fresh > more)
    };
    if !generator.until(Duration::from_secs(120), whole) {
        generator.healthy()?;
        return Err("not all subscriptions became fresh".to_owned());
    }
    let took = begin.elapsed().as_secs_f64();
    generator.until(Duration::from_secs(1), |_| false);
    let all = server.usage().resident;
    let subscriptions = (count as u64 * more) as f64;
    figures.put("bytes_per_subscription", (all as f64 - one_each as f64) / subscriptions);
    figures.put("subscribed_per_s", subscriptions / took);
    figures.put("server_mb", all as f64 / 1e6);

    // Puts at topics from everywhere; ten connections see each.
    let commits = if args.trial { 50 } else { COMMITS };
    let mut expected = generator.messages();
    let before = server.usage().cpu_ns;
    for commit in 0..commits {
        let topic = commit * 49_999 % (count * SUBSCRIPTIONS).min(TOPICS);
        let path = self::topic(topic / SUBSCRIPTIONS, topic % SUBSCRIPTIONS);
        expected += (count * SUBSCRIPTIONS).div_ceil(TOPICS) as u64;
        let now = generator.tally.now();
        let mut template = onetree::message(codec, Kind::Put, path, 128);
        let one = &mut generator.connections[publisher];
        template.write(commit as u64, now, &mut one.out);
        if commit % 256 == 255 || commit + 1 == commits {
            one.flush();
            generator.until(Duration::from_secs(10), |generator| generator.messages() >= expected);
        }
    }
    let cpu = server.usage().cpu_ns - before;
    figures.put("cpu_us_per_commit", cpu as f64 / 1e3 / commits as f64);
    figures.put("lost", expected.saturating_sub(generator.messages()) as f64);
    figures.notes.push("finding alone: cargo bench --bench fanout a_million".to_owned());
    generator.healthy()?;
    Ok(figures)
}
