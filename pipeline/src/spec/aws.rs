//! Spec: region, endpoints and credentials of AWS.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::bounds::{TextMap, rules, text_map};

/// Region, endpoints and credentials of AWS.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Aws {
    /// AWS region, for example `eu-central-1`. Default: us-east-1.
    #[schemars(length(min = 1, max = 32), regex(pattern = r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$"))]
    pub region: String,
    /// Where credentials come from. Default: WorkloadIdentity.
    pub credentials: Credentials,
    /// Endpoints of S3-compatible stores and emulators; AWS's own where none is set.
    pub endpoints: Endpoints,
    /// Whether the bucket stands in the path (`https://host/bucket/key`) instead of the host name; most S3-compatible stores
    /// need it. Default: false.
    pub force_path_style: bool,
    /// Role that the operator takes for Glue and Athena of this pipeline; its own settings must grant it to the namespace.
    /// Default: the operator's own role. Example: `arn:aws:iam::111122223333:role/market-data-catalog`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256), regex(pattern = r"^arn:[a-z-]+:iam::[0-9]{12}:role/[A-Za-z0-9+=,.@_/-]+$"))]
    pub control_plane_role_arn: Option<String>,
    /// Tags of everything that the operator makes in AWS. Default: none.
    #[schemars(schema_with = "text_map")]
    pub tags: TextMap,
}

/// Where credentials come from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = rules(&[
    ("(self.type == 'Secret') == has(self.secretRef)", "set secretRef exactly when type is Secret"),
])))]
pub struct Credentials {
    /// WorkloadIdentity: EKS Pod Identity, IRSA or whatever else AWS's default chain finds; Secret: static keys, for emulators
    /// and for the workers only. Default: WorkloadIdentity.
    #[serde(rename = "type")]
    pub credentials_type: CredentialsType,
    /// Secret with the keys `accessKeyId`, `secretAccessKey` and, optionally, `sessionToken`, in the pipeline's namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<NameRef>,
}

/// Kind of credentials.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum CredentialsType {
    /// AWS's default credential chain.
    #[default]
    WorkloadIdentity,
    /// Static keys of a Secret.
    Secret,
}

/// Endpoints of AWS services: `https://host[:port]` or, inside a cluster, `http://host[:port]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Endpoints {
    /// S3. Example: `http://minio:9000`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512), regex(pattern = r"^https?://.+$"))]
    pub s3: Option<String>,
    /// Glue. Example: `http://moto:5555`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512), regex(pattern = r"^https?://.+$"))]
    pub glue: Option<String>,
    /// Athena.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512), regex(pattern = r"^https?://.+$"))]
    pub athena: Option<String>,
    /// STS.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512), regex(pattern = r"^https?://.+$"))]
    pub sts: Option<String>,
}

/// An object of the pipeline's namespace, by name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NameRef {
    /// Name of the object.
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$"))]
    pub name: String,
}

/// A key of a Secret or `ConfigMap` of the pipeline's namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KeyRef {
    /// Name of the object.
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$"))]
    pub name: String,
    /// Key in it.
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[A-Za-z0-9_.-]*[A-Za-z0-9_-][A-Za-z0-9_.-]*$"))]
    pub key: String,
}

impl Default for Aws {
    fn default() -> Self {
        Self {
            region: "us-east-1".to_owned(),
            credentials: Credentials::default(),
            endpoints: Endpoints::default(),
            force_path_style: false,
            control_plane_role_arn: None,
            tags: TextMap::new(),
        }
    }
}
