use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::Notify;

use super::*;

/// What the next starts do; a `Fine` one runs until it is broken.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Start {
    Fine,
    Refused,
    AddressTaken,
}

#[derive(Debug, Default)]
struct Script {
    starts: Mutex<VecDeque<Start>>,
    listens: Mutex<Vec<Option<SocketAddr>>>,
    broken: Notify,
    shutdowns: Mutex<usize>,
}

struct Scripted(Arc<Script>, Option<SocketAddr>);

impl Server for Scripted {
    type Plan = Arc<Script>;

    async fn start(script: &Arc<Script>, listen: Option<SocketAddr>) -> Result<Self, StartFailure> {
        script.listens.lock().unwrap().push(listen);
        let next = script.starts.lock().unwrap().pop_front().unwrap_or(Start::Fine);
        match next {
            Start::Fine => Ok(Scripted(script.clone(), listen)),
            Start::Refused => Err(StartFailure { address_refused: false, why: "no disk".into() }),
            Start::AddressTaken => Err(StartFailure {
                address_refused: true,
                why: format!("port {} is in use", listen.map_or(0, |listen| listen.port())),
            }),
        }
    }

    fn listen_addr(&self) -> Option<SocketAddr> {
        self.1
    }

    fn dial(&self) -> DuplexStream {
        let (near, mut far) = tokio::io::duplex(64);
        tokio::spawn(async move { far.write_all(b"hello").await });
        near
    }

    async fn stopped(&self) -> String {
        self.0.broken.notified().await;
        "sync failed".into()
    }

    async fn shutdown(self) -> Result<(), String> {
        *self.0.shutdowns.lock().unwrap() += 1;
        Ok(())
    }
}

const SHORT: Waits = Waits {
    first: Duration::from_millis(20),
    longest: Duration::from_millis(40),
    good_run: Duration::from_secs(60),
    port_retry: Duration::from_millis(20),
};

/// What it does, within a deadline.
async fn until(supervisor: &Supervisor, wanted: impl FnMut(&Standing) -> bool) -> Standing {
    let mut standing = supervisor.standing();
    let reached = tokio::time::timeout(Duration::from_secs(10), standing.wait_for(wanted)).await;
    reached.expect("in time").unwrap().clone()
}

fn free_address() -> SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

fn begin(starts: &[Start], listen: SocketAddr) -> (Supervisor, Arc<Script>) {
    let script = Arc::new(Script {
        starts: Mutex::new(starts.iter().copied().collect()),
        ..Script::default()
    });
    (Supervisor::start_with::<Scripted>(script.clone(), listen, SHORT), script)
}

async fn until_ready(supervisor: &Supervisor) -> Standing {
    until(supervisor, |standing| matches!(standing, Standing::Ready { .. })).await
}

#[tokio::test]
async fn it_comes_back_after_it_stopped_by_itself() {
    let (supervisor, script) = begin(&[], free_address());
    until_ready(&supervisor).await;
    let mut hello = String::new();
    supervisor.dial().await.unwrap().read_to_string(&mut hello).await.unwrap();
    assert_eq!(hello, "hello");

    script.broken.notify_one();
    let waiting = until(&supervisor, |s| matches!(s, Standing::Waiting { .. })).await;
    assert_eq!(waiting, Standing::Waiting { why: "sync failed".into(), wait: SHORT.first });

    until_ready(&supervisor).await;
    assert!(supervisor.dial().await.is_ok());
    assert_eq!(supervisor.shutdown().await, None);
    // The broken one and the last one.
    assert_eq!(*script.shutdowns.lock().unwrap(), 2);
}

#[test]
fn waits_grow_to_a_bound_and_are_forgotten_after_a_good_run() {
    let mut waits = vec![WAITS.next(None, Duration::ZERO)];
    for _ in 0..6 {
        waits.push(WAITS.next(waits.last().copied(), Duration::from_secs(5)));
    }
    assert_eq!(waits.iter().map(Duration::as_secs).collect::<Vec<_>>(), [1, 2, 4, 8, 16, 30, 30]);
    assert_eq!(WAITS.next(Some(WAITS.longest), WAITS.good_run), WAITS.first);
}

#[tokio::test]
async fn a_stream_is_refused_with_the_reason_while_it_is_down() {
    let (supervisor, _script) = begin(&[Start::Refused; 1000], free_address());
    until(&supervisor, |s| matches!(s, Standing::Waiting { .. })).await;
    let refused = tokio::time::timeout(Duration::from_secs(10), supervisor.dial())
        .await
        .expect("in time")
        .unwrap_err();
    assert!(matches!(refused, Standing::Waiting { .. } | Standing::Starting), "{refused:?}");
}

#[tokio::test]
async fn a_taken_port_is_said_and_taken_back_when_free() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = taken.local_addr().unwrap();
    let (supervisor, script) = begin(&[Start::AddressTaken, Start::Fine], listen);
    let Standing::Ready { listen: None, problem: Some(problem) } = until_ready(&supervisor).await
    else {
        panic!("it should run without the port");
    };
    assert!(problem.contains(&listen.port().to_string()), "{problem}");
    assert!(supervisor.dial().await.is_ok());

    // While it is taken nothing is restarted.
    let with_port = |standing: &Standing| {
        matches!(standing, Standing::Ready { listen: Some(_), problem: None })
    };
    let mut standing = supervisor.standing();
    assert!(
        tokio::time::timeout(SHORT.port_retry * 5, standing.wait_for(with_port)).await.is_err()
    );
    assert_eq!(script.listens.lock().unwrap().len(), 2);

    drop(taken);
    until(&supervisor, with_port).await;
    assert_eq!(*script.listens.lock().unwrap(), [Some(listen), None, Some(listen)]);
}

#[tokio::test]
async fn leaving_works_while_it_waits() {
    let (supervisor, script) = begin(&[Start::Refused; 3], free_address());
    until(&supervisor, |s| matches!(s, Standing::Waiting { .. })).await;
    assert_eq!(supervisor.shutdown().await, None);
    assert_eq!(*script.shutdowns.lock().unwrap(), 0);
    assert!(supervisor.dial().await.is_err());
}

fn ready_at(listen: SocketAddr) -> impl FnMut(&Standing) -> bool {
    move |standing| *standing == Standing::Ready { listen: Some(listen), problem: None }
}

#[tokio::test]
async fn it_listens_elsewhere_when_told_to() {
    let (first, second) = (free_address(), free_address());
    let (supervisor, script) = begin(&[], first);
    until(&supervisor, ready_at(first)).await;
    assert_eq!(supervisor.listen(second).await, Ok(()));
    until(&supervisor, ready_at(second)).await;
    assert!(supervisor.dial().await.is_ok());
    // There already: nothing is restarted.
    assert_eq!(supervisor.listen(second).await, Ok(()));
    assert_eq!(*script.listens.lock().unwrap(), [Some(first), Some(second)]);
    // What fails later starts there too.
    script.broken.notify_one();
    until(&supervisor, |s| matches!(s, Standing::Waiting { .. })).await;
    until(&supervisor, ready_at(second)).await;
}

#[tokio::test]
async fn where_it_cannot_listen_it_stays_where_it_was() {
    let first = free_address();
    let (supervisor, script) = begin(&[Start::Fine, Start::AddressTaken], first);
    until(&supervisor, ready_at(first)).await;
    // Seen without a restart.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let at = taken.local_addr().unwrap();
    let refused = supervisor.listen(at).await.unwrap_err();
    assert_eq!(refused, format!("port {} is used by another program", at.port()));
    let refused = supervisor.listen("192.0.2.1:7443".parse().unwrap()).await.unwrap_err();
    assert_eq!(refused, "192.0.2.1 is no address of this machine");
    assert_eq!(script.listens.lock().unwrap().len(), 1);
    // Seen by the restart, on the port that it holds itself.
    let wide = SocketAddr::new(std::net::Ipv4Addr::UNSPECIFIED.into(), first.port());
    let refused = supervisor.listen(wide).await.unwrap_err();
    assert_eq!(refused, format!("port {} is in use", first.port()));
    until(&supervisor, ready_at(first)).await;
    assert_eq!(*script.listens.lock().unwrap(), [Some(first), Some(wide), Some(first)]);
}

#[tokio::test]
async fn while_it_is_down_it_is_not_moved() {
    let (supervisor, _script) = begin(&[Start::Refused; 1000], free_address());
    until(&supervisor, |s| matches!(s, Standing::Waiting { .. })).await;
    assert!(supervisor.listen(free_address()).await.unwrap_err().contains("not running"));
}
