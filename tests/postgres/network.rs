//! A network between store and server that falls silent when it is told to.

use std::ops::Range;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Forwards connections to one server.
pub struct Network {
    port: u16,
    control: Arc<Control>,
    accepting: JoinHandle<()>,
}

#[derive(Default)]
struct Control {
    /// Connections opened under an earlier number than this are forgotten.
    era: watch::Sender<u64>,
    /// What a client must not get through; the first connection that tries falls silent.
    forbidden: Mutex<Option<&'static [u8]>>,
    /// Set when what a silent connection kept back goes through after all.
    late: watch::Sender<bool>,
}

impl Network {
    /// In front of the server of this URL.
    pub async fn to(url: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = url[address(url)].to_owned();
        let control = Arc::new(Control::default());
        let shared = control.clone();
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(&server).await.expect("the server behind");
                tokio::spawn(carry(client, server, shared.clone()));
            }
        });
        Self { port, control, accepting }
    }

    /// The URL by way of this network.
    pub fn url(&self, url: &str) -> String {
        let Range { start, end } = address(url);
        format!("{}127.0.0.1:{}{}", &url[..start], self.port, &url[end..])
    }

    /// All connections fall silent, as when a firewall forgets them: nothing arrives any more and
    /// nobody is told. New ones work.
    pub fn forget_connections(&self) {
        self.control.era.send_modify(|era| *era += 1);
    }

    /// The next connection on which a client says this falls silent just before.
    pub fn fall_silent_before(&self, words: &'static [u8]) {
        *self.control.forbidden.lock().unwrap() = Some(words);
    }

    /// What was kept back arrives, whether the client that said it is still there or not.
    pub fn deliver_late(&self) {
        self.control.late.send_replace(true);
    }

    /// Whether one has fallen silent before what was named.
    pub fn fell_silent(&self) -> bool {
        self.control.forbidden.lock().unwrap().is_none()
    }
}

impl Drop for Network {
    /// From now on connections are refused.
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// `host:port` in a URL.
fn address(url: &str) -> Range<usize> {
    let scheme = url.find("://").expect("a URL") + 3;
    let end = url[scheme..].find(['/', '?']).map_or(url.len(), |at| scheme + at);
    let start = url[scheme..end].rfind('@').map_or(scheme, |at| scheme + at + 1);
    start..end
}

async fn carry(client: TcpStream, server: TcpStream, control: Arc<Control>) {
    let mut era = control.era.subscribe();
    let born = *era.borrow_and_update();
    let mut late = control.late.subscribe();
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let up = async {
        let mut bytes = vec![0; 65_536];
        loop {
            let read = from_client.read(&mut bytes).await.unwrap_or(0);
            if read == 0 {
                return;
            }
            let said = &bytes[..read];
            let forbidden = control
                .forbidden
                .lock()
                .unwrap()
                .take_if(|words| said.windows(words.len()).any(|window| window == *words));
            if forbidden.is_some() {
                let _ = late.wait_for(|late| *late).await;
            }
            if to_server.write_all(said).await.is_err() {
                return;
            }
        }
    };
    let down = tokio::io::copy(&mut from_server, &mut to_client);
    let forgotten = tokio::select! {
        () = up => false,
        _ = down => false,
        _ = era.wait_for(|era| *era > born) => true,
    };
    if forgotten {
        std::future::pending::<()>().await; // and both sockets stay open
    }
}
