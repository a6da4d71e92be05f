//! The rehearsal's application: what runs in a task of the Rally-like service.
//!
//! It refuses to start while the migration that it needs is missing (runbook R13: the new tasks end again and again while the
//! old ones serve), and tells its version.

use std::future::Future;
use std::io::Write as _;
use std::net::SocketAddr;
use std::os::fd::AsFd as _;
use std::process::ExitCode;

use axum::Json;
use axum::routing::get;
use serde_json::json;
use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe;
use tokio::signal::unix::{SignalKind, signal};

/// How the one line on standard output begins; the address follows.
pub const LISTENING: &str = "listening on ";

/// The command line of the application.
#[derive(Clone, Debug, clap::Args)]
pub struct AppOptions {
    /// What `GET /version` answers
    #[arg(long)]
    pub version: String,
    /// Where to listen; port 0 is a free one
    #[arg(long, default_value = "127.0.0.1:0")]
    pub listen: SocketAddr,
    /// The database, as a URL on loopback; `DATABASE_URL` without. A URL without a password takes it from `PGPASSWORD`
    #[arg(long)]
    pub database_url: Option<String>,
    /// A query whose first column must be true for the application to start
    #[arg(long, value_name = "SQL")]
    pub requires: Option<String>,
    /// End at once with this exit code
    #[arg(long)]
    pub exit_code: Option<u8>,
    /// End when standard input, a pipe, closes, so as not to outlive a killed parent
    #[arg(long)]
    pub until_stdin_closes: bool,
}

/// Runs until `SIGTERM`, `SIGINT` or, if asked for, the end of standard input, and then finishes open requests. The exit code is
/// 1, with a message on standard error, when the database can't be reached or the migration is missing.
pub async fn run(options: AppOptions) -> ExitCode {
    match serve(options).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(refusal) => {
            // Nowhere is left to say that this failed.
            let _ = writeln!(std::io::stderr(), "{}", refusal.message);
            ExitCode::from(refusal.code)
        }
    }
}

struct Refusal {
    code: u8,
    message: String,
}

impl Refusal {
    fn new(attempt: &str, error: &dyn std::error::Error) -> Self {
        let mut message = format!("{attempt}: {error}");
        let mut source = error.source();
        while let Some(cause) = source {
            message = format!("{message}: {cause}");
            source = cause.source();
        }
        Self { code: 1, message }
    }
}

async fn serve(options: AppOptions) -> Result<(), Refusal> {
    if let Some(code) = options.exit_code {
        return Err(Refusal { code, message: format!("this image ends with exit code {code}") });
    }
    let url = options.database_url.clone().or_else(|| std::env::var("DATABASE_URL").ok());
    check_database(&options, url.as_deref()).await?;
    let listener = tokio::net::TcpListener::bind(options.listen)
        .await
        .map_err(|error| Refusal::new(&format!("can't listen on {}", options.listen), &error))?;
    let address = listener.local_addr().map_err(|error| Refusal::new("no local address", &error))?;
    let ended =
        ended(options.until_stdin_closes).map_err(|error| Refusal::new("can't watch for the end", &error))?;
    let version = options.version;
    let app = axum::Router::new()
        .route("/version", get(move || async move { Json(json!({"version": version})) }))
        .route("/health", get(|| async { Json(json!({"status": "ok"})) }));
    let mut stdout = std::io::stdout();
    writeln!(stdout, "{LISTENING}{address}")
        .and_then(|()| stdout.flush())
        .map_err(|error| Refusal::new("can't write the address", &error))?;
    axum::serve(listener, app)
        .with_graceful_shutdown(ended)
        .await
        .map_err(|error| Refusal::new("can't serve", &error))
}

/// Connects once: the rehearsal's migrations must not wait for locks of an idle application.
async fn check_database(options: &AppOptions, url: Option<&str>) -> Result<(), Refusal> {
    let Some(url) = url else {
        return match options.requires {
            None => Ok(()),
            Some(_) => {
                Err(Refusal { code: 1, message: "no DATABASE_URL, but a migration is required".to_owned() })
            }
        };
    };
    let mut config: tokio_postgres::Config =
        url.parse().map_err(|error| Refusal::new("DATABASE_URL is no PostgreSQL URL", &error))?;
    if let (None, Ok(password)) = (config.get_password(), std::env::var("PGPASSWORD")) {
        config.password(password);
    }
    let (client, connection) = config
        .connect(tokio_postgres::NoTls)
        .await
        .map_err(|error| Refusal::new("can't connect to the database", &error))?;
    let connection = tokio::spawn(connection);
    let outcome = match &options.requires {
        None => Ok(()),
        Some(query) => match client.query_one(query.as_str(), &[]).await {
            Ok(row) if matches!(row.try_get::<_, bool>(0), Ok(true)) => Ok(()),
            Ok(_) => Err(Refusal {
                code: 1,
                message: format!("version {} needs a migration that is missing: {query}", options.version),
            }),
            Err(error) => {
                let attempt =
                    format!("version {} needs a migration that is missing: {query}", options.version);
                Err(Refusal::new(&attempt, &error))
            }
        },
    };
    drop(client);
    let _ = connection.await;
    outcome
}

/// Handlers are in place when this returns; the future ends with the first signal.
fn ended(until_stdin_closes: bool) -> std::io::Result<impl Future<Output = ()> + Send> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    // Not `tokio::io::stdin`: its blocking read would hold up the end of the process after a signal.
    let mut stdin = if until_stdin_closes {
        Some(pipe::Receiver::from_owned_fd(std::io::stdin().as_fd().try_clone_to_owned()?)?)
    } else {
        None
    };
    Ok(async move {
        let closed = async {
            match &mut stdin {
                None => std::future::pending().await,
                Some(stdin) => {
                    let mut buffer = [0; 64];
                    while stdin.read(&mut buffer).await.is_ok_and(|read| read > 0) {}
                }
            }
        };
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            () = closed => {}
        }
    })
}
