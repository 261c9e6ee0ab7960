//! Region, endpoints and credentials.

use super::address;
use super::findings::Findings;
use crate::checked;
use crate::operations::ControlPlane;
use crate::spec::aws::{Aws, CredentialsType};

/// Checks what the workers need.
pub(crate) fn check(aws: &Aws, findings: &mut Findings) -> checked::Aws {
    let path = "spec.aws.credentials.secretRef";
    let secret = aws.credentials.secret_ref.as_ref().map(|secret| secret.name.clone());
    match (aws.credentials.credentials_type, &secret) {
        (CredentialsType::WorkloadIdentity, None) | (CredentialsType::Secret, Some(_)) => {}
        (CredentialsType::Secret, None) => {
            findings.broken(path, "is required when type is Secret", "add secretRef: {name: ...}");
        }
        (CredentialsType::WorkloadIdentity, Some(_)) => {
            findings.broken(path, "is set although type is WorkloadIdentity", "remove it, or set type: Secret");
        }
    }
    checked::Aws {
        region: aws.region.clone(),
        s3_endpoint: endpoint(findings, "s3", aws.endpoints.s3.as_ref()),
        sts_endpoint: endpoint(findings, "sts", aws.endpoints.sts.as_ref()),
        force_path_style: aws.force_path_style,
        credentials_secret: secret,
    }
}

/// Checks what only the operator needs.
pub(crate) fn control_plane(aws: &Aws, findings: &mut Findings) -> ControlPlane {
    for (name, value) in &aws.tags {
        if name.is_empty() || name.chars().count() > 128 || name.to_ascii_lowercase().starts_with("aws:") || value.chars().count() > 256 {
            let path = super::shape::keyed("spec.aws.tags", name);
            findings.broken(
                &path,
                "is no tag that AWS takes",
                "use a name of 1 to 128 characters, not starting with aws:, and a value of at most 256",
            );
        }
    }
    if aws.tags.len() > 40 {
        findings.broken(
            "spec.aws.tags",
            &format!("has {} entries", aws.tags.len()),
            "use at most 40: AWS allows 50, and the operator adds its own",
        );
    }
    ControlPlane {
        glue_endpoint: endpoint(findings, "glue", aws.endpoints.glue.as_ref()),
        athena_endpoint: endpoint(findings, "athena", aws.endpoints.athena.as_ref()),
        role_arn: aws.control_plane_role_arn.clone(),
        tags: aws.tags.clone(),
    }
}

fn endpoint(findings: &mut Findings, service: &str, text: Option<&String>) -> Option<String> {
    let text = text?;
    address::endpoint(findings, &format!("spec.aws.endpoints.{service}"), text);
    Some(text.trim_end_matches('/').to_owned())
}
