//! The network's own part: one byte to another thread and back, through loopback.

use std::{
    io::{self, Read as _, Write as _},
    net::{Ipv4Addr, TcpListener, TcpStream},
    thread,
};

use crate::{clock::now, figures::percentile_us};

/// The median round trip in microseconds.
pub(crate) fn round_trip_us() -> io::Result<f64> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let mut near = TcpStream::connect(listener.local_addr()?)?;
    let (mut far, _) = listener.accept()?;
    for end in [&near, &far] {
        end.set_nodelay(true)?;
    }
    let echo = thread::spawn(move || -> io::Result<()> {
        let mut byte = [0];
        for _ in 0..TRIPS {
            far.read_exact(&mut byte)?;
            far.write_all(&byte)?;
        }
        Ok(())
    });
    let mut times = Vec::with_capacity(TRIPS);
    for _ in 0..TRIPS {
        let began = now();
        near.write_all(&[0])?;
        near.read_exact(&mut [0])?;
        times.push((now() - began).as_nanos() as u64);
    }
    echo.join().map_err(|_| io::ErrorKind::Other)??;
    times.sort_unstable();
    Ok(percentile_us(&times, 0.5))
}

const TRIPS: usize = 10_000;
