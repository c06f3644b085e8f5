//! What the benchmarks need beside wrk and h2load, as one program: a cheap backend, and the loads
//! that those two cannot make. `benches/harness` starts it; every command but `backend`, `bare` and `idle`
//! prints one line of JSON when it is done.
//!
//! One thread, no HTTP library: it must cost less than what is measured, and differently.

#![expect(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a tool that measures time and prints what it found"
)]

mod backend;
mod bare;
mod bulk;
mod connections;
mod idle;
mod keys;
mod opened;
mod paced;
mod wire;

use std::time::Duration;

/// As the program itself, so that what is compared is not the allocator.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

pub(crate) type Error = Box<dyn std::error::Error + Send + Sync>;

const USAGE: &str = "bench-load backend
           bare ADDRESS TOKEN
           paced ADDRESS PATH RATE CONNECTIONS SECONDS
           connections ADDRESS PATH tcp|full|resumed CERTIFICATE CONCURRENCY SECONDS
           opened ADDRESS PATH HOST|- CERTIFICATE CONNECTIONS SECONDS
           bulk ADDRESS up|tunnel|connect=TO SIZE CONNECTIONS SECONDS
           idle ADDRESS PATH COUNT REQUESTS
           keys FOLDER ISSUER COUNT";

fn main() -> Result<(), Error> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let report = match arguments[..] {
        ["backend"] => block(&runtime, backend::serve()),
        ["bare", address, token] => block(&runtime, bare::serve(address.parse()?, token)),
        ["paced", address, path, rate, connections, seconds] => paced::run(
            address.parse()?,
            path,
            rate.parse()?,
            connections.parse()?,
            time(seconds)?,
        ),
        [
            "connections",
            address,
            path,
            how,
            certificate,
            concurrency,
            seconds,
        ] => block(
            &runtime,
            connections::run(
                address.parse()?,
                path,
                how,
                certificate,
                concurrency.parse()?,
                time(seconds)?,
            ),
        ),
        [
            "opened",
            address,
            path,
            host,
            certificate,
            connections,
            seconds,
        ] => block(
            &runtime,
            opened::run(
                address.parse()?,
                path,
                host,
                certificate,
                connections.parse()?,
                time(seconds)?,
            ),
        ),
        ["bulk", address, way, size, connections, seconds] => block(
            &runtime,
            bulk::run(
                address.parse()?,
                way.parse()?,
                size.parse()?,
                connections.parse()?,
                time(seconds)?,
            ),
        ),
        ["idle", address, path, count, requests] => block(
            &runtime,
            idle::run(address.parse()?, path, count.parse()?, requests.parse()?),
        ),
        ["keys", folder, issuer, count] => keys::write(folder.as_ref(), issuer, count.parse()?),
        _ => Err(USAGE.into()),
    }?;
    println!("{report}");
    Ok(())
}

fn time(seconds: &str) -> Result<Duration, Error> {
    Ok(Duration::from_secs_f64(seconds.parse()?))
}

/// Tasks of one thread, which need not be `Send`.
fn block<T>(runtime: &tokio::runtime::Runtime, work: impl Future<Output = T>) -> T {
    runtime.block_on(tokio::task::LocalSet::new().run_until(work))
}
