//! kafka
/// Gives OAUTHBEARER tokens where the brokers want them (skeleton).
#[derive(Clone, Default)]
pub struct TokenSource {}
impl TokenSource {
    /// Returns a token (skeleton).
    ///
    /// # Errors
    /// Always, in the skeleton.
    pub fn token(&self) -> Result<rdkafka::client::OAuthToken, Box<dyn std::error::Error>> {
        Err("no token".into())
    }
}
