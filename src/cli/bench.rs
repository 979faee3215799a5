//! stub
use clap::Args;
use super::{Common, exit::Failure, output::Output};
pub(crate) const EXAMPLES: &str = "Examples:\n  onetree bench";
/// stub
#[derive(Args)]
pub(crate) struct Bench {}
impl Bench {
    pub(crate) async fn run(&self, _: &Common, _: &mut Output) -> Result<(), Failure> { unimplemented!() }
}
