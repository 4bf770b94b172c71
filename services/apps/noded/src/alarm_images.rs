//! The alarms that follow from images and the jobs that pull them.

use skerry_model::{Image, ImageState, Job, Resource, SignatureState};

use crate::alarm_watch::Verdict;
use crate::pulls::SIGNATURE_REFUSED;

/// What stands for an image, which these jobs have pulled or pull; nothing does for one that is gone.
pub fn of_image(image: Option<Resource<Image>>, pulls: &[Resource<Job>]) -> Vec<Verdict> {
    let Some(image) = image else {
        return vec![("IMAGE_DAMAGED", None), ("SIGNATURE_FAILED", None)];
    };
    let name = &image.meta.name;
    let damaged = image.status.state == ImageState::Quarantined;
    let damaged = damaged.then(|| format!("image `{name}` is damaged"));
    let mut stand = vec![("IMAGE_DAMAGED", damaged)];
    // While it is pulled again, what was found the last time stands.
    let comes = matches!(image.status.state, ImageState::Pending | ImageState::Receiving);
    if !comes && pulls.iter().all(|job| job.status.state.is_final()) {
        stand.push(("SIGNATURE_FAILED", unsigned(&image, pulls)));
    }
    stand
}

/// What is wrong with an image's signatures, by what its last pull found.
fn unsigned(image: &Resource<Image>, pulls: &[Resource<Job>]) -> Option<String> {
    if image.status.state == ImageState::Failed || image.status.state == ImageState::Quarantined {
        let last = pulls.iter().max_by_key(|job| job.status.finished)?;
        let refused = last.status.reason == SIGNATURE_REFUSED;
        return refused.then(|| {
            format!("image `{}` was not taken: {}", image.meta.name, last.status.message)
        });
    }
    // It is here, since its rule does not require a signature; one that is not good says more than none.
    let found = image.spec.signature.as_ref()?;
    (found.state == SignatureState::Failed).then(|| {
        format!(
            "image `{}` is here, but its signature is wrong: {}",
            image.meta.name, found.message
        )
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use skerry_model::{
        Id, ImageSpec, ImageStatus, JobSpec, JobState, JobStatus, Meta, Name, Owner, Phase,
        Timestamp,
    };

    use super::*;

    fn meta(name: &str) -> Meta {
        let now = Timestamp::from_second(1).unwrap();
        Meta {
            id: Id::<Image>::new(uuid::Uuid::from_u128(1)).uuid(),
            name: Name::new(name).unwrap(),
            labels: Default::default(),
            generation: 1,
            revision: 1,
            owner: Owner::Local,
            phase: Phase::Present,
            finalizers: Vec::new(),
            created: now,
            updated: now,
        }
    }

    fn image(state: ImageState, signature: serde_json::Value) -> Resource<Image> {
        let spec = json!({"format": "oci_archive", "architecture": "x86_64",
            "source": {"registry": {"reference": "x.y/a:1"}}, "signature": signature});
        let spec: ImageSpec = serde_json::from_value(spec).unwrap();
        let status = ImageStatus { state, ..ImageStatus::default() };
        Resource { meta: meta("app"), spec, status }
    }

    fn pull(state: JobState, reason: &str, finished: i64) -> Resource<Job> {
        let spec = json!({"operation": "image.pull", "subject": null, "deadline_s": 1});
        let spec: JobSpec = serde_json::from_value(spec).unwrap();
        let finished = state.is_final().then(|| Timestamp::from_second(finished).unwrap());
        let (reason, message) = (reason.to_owned(), "it has no signature".to_owned());
        let status = JobStatus { state, reason, message, finished, ..JobStatus::default() };
        Resource { meta: meta("job"), spec, status }
    }

    /// Whether the alarm stands afterwards if it stood before, or did not.
    fn stands(image: Resource<Image>, pulls: &[Resource<Job>]) -> [bool; 2] {
        let verdicts = of_image(Some(image), pulls);
        let found = verdicts.into_iter().find(|(key, _)| *key == "SIGNATURE_FAILED");
        [true, false].map(|before| found.as_ref().map_or(before, |(_, text)| text.is_some()))
    }

    #[test]
    fn an_image_without_a_good_signature_raises_it_and_a_later_pull_ends_it() {
        let none = || json!(null);
        let refused = || pull(JobState::Failed, SIGNATURE_REFUSED, 1);
        for state in [ImageState::Pending, ImageState::Receiving] {
            assert_eq!(stands(image(state, none()), &[refused()]), [true, false]);
        }
        for state in [ImageState::Failed, ImageState::Quarantined] {
            assert_eq!(stands(image(state, none()), &[refused()]), [true, true]);
            assert_eq!(stands(image(state, none()), &[]), [false, false], "its job is gone");
            let other = pull(JobState::Failed, "PullFailed", 2);
            assert_eq!(stands(image(state, none()), &[other, refused()]), [false, false]);
            let again = pull(JobState::Running, "", 0);
            assert_eq!(stands(image(state, none()), &[refused(), again]), [true, false]);
        }
        let good = pull(JobState::Completed, "", 2);
        assert_eq!(stands(image(ImageState::Available, none()), &[refused(), good]), [false; 2]);
    }

    #[test]
    fn where_none_is_required_only_a_wrong_one_raises_it() {
        let found =
            |state: &str| stands(image(ImageState::Available, json!({"state": state})), &[]);
        assert_eq!(found("failed"), [true, true]);
        assert_eq!(found("unsigned"), [false, false]);
        let verified = json!({"state": "verified", "key": "ab"});
        assert_eq!(stands(image(ImageState::Available, verified), &[]), [false, false]);
    }

    #[test]
    fn nothing_stands_for_an_image_that_is_gone() {
        assert!(of_image(None, &[]).iter().all(|(_, text)| text.is_none()));
    }
}
