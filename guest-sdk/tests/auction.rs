//! The steps of the guide's auction, `docs/guide/auction.md`, with their tests. The last one is the plugin
//! `auction`.

#[path = "../../docs/guide/auction/step-1.rs"]
mod step_1;
#[path = "../../docs/guide/auction/step-2.rs"]
mod step_2;
#[path = "../../docs/guide/auction/step-3.rs"]
mod step_3;
#[path = "../../docs/guide/auction/step-4.rs"]
mod step_4;
