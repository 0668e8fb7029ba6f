//! Bytes between two nodes for each hit, of which one is hit and the other one acknowledges.

use crate::{
    BoxError,
    group::Group,
    load::{Pace, Plan, Routing},
    options::Setup,
    pages::PADDING,
    sample::sample,
    table::Table,
    visitor::{Checks, Visitor},
};

pub(crate) async fn run(setup: &Setup) -> Result<(), BoxError> {
    let group = Group::cluster(2, setup.links(), &[]).await?;
    let heads = [
        "request",
        "at once",
        "changes, bytes/hit",
        "answers, bytes/hit",
    ];
    let mut table = Table::new(&heads);
    let padded = format!("/padded: {PADDING} other bytes and the counter, Ack::None");
    for (name, path) in [
        ("/hit, Ack::None", "/hit-none"),
        ("/hit, Ack::All", "/hit"),
        (padded.as_str(), "/padded"),
    ] {
        for connections in [1, 64] {
            let plan = Plan {
                servers: group.addresses()[..1].to_vec(),
                path,
                checks: Checks::Count,
                routing: Routing::Sticky,
                connections,
            };
            let mut visitors = (0..connections).map(|_| Visitor::new("", 0, 0)).collect();
            let length = setup.seconds * u32::try_from(setup.rounds.get())?;
            let pace = Pace::AsFastAsAnswered;
            let sample = sample(&group, plan, &mut visitors, pace, length).await?;
            sample.check(name)?;
            let bytes = sample.wire_bytes.ok_or("two nodes that tell no bytes")?;
            let mut row = vec![name.to_owned(), connections.to_string()];
            row.extend(bytes.iter().map(|bytes| format!("{bytes:.1}")));
            table.row(row);
        }
    }
    table.print();
    Ok(())
}
