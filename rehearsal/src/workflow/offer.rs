//! What the driver brings along for a workflow: the `github` context, and what stands in for GitHub's own actions.

/// The `github` context and, but for the token, the `GITHUB_*` variables, with what a rehearsal starts from. Nobody
/// listens at port 9: what no `--env` leads into the world leads nowhere.
pub(crate) const GITHUB: &str = "action= actor=rehearsal api_url=http://127.0.0.1:9 base_ref= \
    event_name=workflow_dispatch event_path= head_ref= job= ref=refs/heads/main ref_name=main ref_type=branch \
    repository=example/rehearsal repository_owner=example run_attempt=1 run_id=1 run_number=1 \
    server_url=https://github.com sha=0000000000000000000000000000000000000000 token= triggering_actor=rehearsal \
    workflow= workspace=";

/// Knows only the inputs and outputs listed here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StandIn {
    Checkout,
    Upload,
    Download,
    Credentials,
}

impl StandIn {
    /// By the text of `uses:`, whatever the version.
    pub(crate) fn of(uses: &str) -> Option<Self> {
        let all = [Self::Checkout, Self::Upload, Self::Download, Self::Credentials];
        all.into_iter().find(|one| uses.split('@').next() == Some(one.stands_for()))
    }

    pub(crate) fn stands_for(self) -> &'static str {
        match self {
            Self::Checkout => "actions/checkout",
            Self::Upload => "actions/upload-artifact",
            Self::Download => "actions/download-artifact",
            Self::Credentials => "aws-actions/configure-aws-credentials",
        }
    }

    pub(crate) fn inputs(self) -> &'static str {
        match self {
            Self::Checkout => "ref fetch-depth persist-credentials",
            Self::Upload => "name path if-no-files-found retention-days overwrite include-hidden-files",
            Self::Download => "name pattern path",
            Self::Credentials => {
                "aws-region role-to-assume role-session-name role-duration-seconds allowed-account-ids \
                 mask-aws-account-id"
            }
        }
    }

    pub(crate) fn outputs(self) -> &'static str {
        if self == Self::Download { "download-path" } else { "" }
    }
}
