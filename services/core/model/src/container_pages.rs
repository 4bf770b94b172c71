//! Huge pages of containers: how much memory in them one may have, and what that comes to for its pod.

use serde::{Deserialize, Serialize};

use crate::{Container, HugePageSize, HugePagesTaken, Invalid, Medium, PodSpec, PodVolumeSource};

/// Memory in huge pages of one size that a container may have, and that is set aside for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ContainerPages {
    /// Their size.
    pub size: HugePageSize,
    /// How much memory in MiB, a multiple of the size, up to 1048576.
    pub mib: u64,
}

impl ContainerPages {
    /// How many pages that is.
    pub const fn count(&self) -> u64 {
        self.mib / self.size.mib()
    }
}

/// All sizes that there are.
const SIZES: [HugePageSize; 2] = [HugePageSize::Mib2, HugePageSize::Gib1];

impl Container {
    /// How many huge pages of a size it may have.
    pub fn pages_of(&self, size: HugePageSize) -> u64 {
        let own = self.huge_pages.iter().filter(|pages| pages.size == size);
        own.map(ContainerPages::count).fold(0, u64::saturating_add)
    }

    pub(crate) fn validate_pages(&self, found: &mut Invalid) {
        for (index, pages) in self.huge_pages.iter().enumerate() {
            let page = pages.size.mib();
            if !(page..=1_048_576).contains(&pages.mib) || !pages.mib.is_multiple_of(page) {
                let message = format!("must be a multiple of {page} MiB, up to 1048576");
                found.add(format!("huge_pages[{index}].mib"), message);
            }
            let twice =
                self.huge_pages.iter().take(index).any(|earlier| earlier.size == pages.size);
            let field = format!("huge_pages[{index}].size");
            found.require(!twice, &field, "is given twice: give each size once");
        }
    }
}

impl Medium {
    /// The pages that a folder of this sort is made of, if they are huge.
    pub const fn pages(self) -> Option<HugePageSize> {
        match self {
            Self::Disk | Self::Memory => None,
            Self::HugePages2Mi => Some(HugePageSize::Mib2),
            Self::HugePages1Gi => Some(HugePageSize::Gib1),
        }
    }
}

impl PodSpec {
    /// The huge pages that have to be set aside for it, by size and number: those of all its containers, or of the one
    /// that runs before them with the most, if those are more.
    pub fn huge_pages(&self) -> Vec<(HugePageSize, u64)> {
        let of = |size| {
            let together = self.containers.iter().map(|it| it.pages_of(size));
            let before = self.init.iter().map(|it| it.pages_of(size)).max().unwrap_or(0);
            (size, together.fold(0, u64::saturating_add).max(before))
        };
        SIZES.into_iter().map(of).filter(|(_, count)| *count > 0).collect()
    }

    /// Whoever sees a folder of huge pages has to have some.
    pub(crate) fn validate_pages(&self, found: &mut Invalid) {
        for (list, containers) in [("init", &self.init), ("containers", &self.containers)] {
            for (index, container) in containers.iter().enumerate() {
                for (place, mount) in container.mounts.iter().enumerate() {
                    let volume = self.volumes.iter().find(|volume| volume.name == mount.volume);
                    let Some(PodVolumeSource::Empty { medium, .. }) = volume.map(|it| &it.source)
                    else {
                        continue;
                    };
                    let Some(size) = medium.pages() else { continue };
                    if container.pages_of(size) == 0 {
                        let message = format!(
                            "is a folder of huge pages of {}, and the container has none: give it some in `huge_pages`",
                            size.shown()
                        );
                        let field = format!("spec.{list}[{index}].mounts[{place}].volume");
                        found.add(field, message);
                    }
                }
            }
        }
    }
}

/// Whether these are as many of each size, wherever they lie.
pub fn are_as_many(taken: &[HugePagesTaken], wanted: &[(HugePageSize, u64)]) -> bool {
    SIZES.into_iter().all(|size| {
        let own = taken.iter().filter(|pages| pages.size == size).map(|pages| pages.count);
        let asked = wanted.iter().filter(|(other, _)| *other == size).map(|(_, count)| *count);
        own.fold(0, u64::saturating_add) == asked.fold(0, u64::saturating_add)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Validate;
    use serde_json::{Value, json};

    fn pod(containers: Value, init: Value, volumes: Value) -> PodSpec {
        let spec = json!({"containers": containers, "init": init, "volumes": volumes});
        serde_json::from_value(spec).unwrap()
    }

    fn with(name: &str, pages: Value) -> Value {
        json!({"name": name, "image": "tiny", "huge_pages": pages})
    }

    fn faults(spec: &PodSpec) -> Vec<String> {
        let mut found = Invalid::default();
        spec.validate(&mut found);
        found.violations().iter().map(|fault| fault.field.clone()).collect()
    }

    #[test]
    fn a_pod_has_what_its_containers_have_together_or_one_before_them_needs() {
        let two = |mib: u64| json!([{"size": "2Mi", "mib": mib}]);
        let both = json!([{"size": "2Mi", "mib": 4}, {"size": "1Gi", "mib": 2048}]);
        let spec = pod(json!([with("a", two(4)), with("b", both)]), json!([]), json!([]));
        assert_eq!(spec.huge_pages(), [(HugePageSize::Mib2, 4), (HugePageSize::Gib1, 2)]);
        let more = json!([with("first", two(6)), with("second", two(20))]);
        let spec = pod(json!([with("a", two(4))]), more, json!([]));
        assert_eq!(spec.huge_pages(), [(HugePageSize::Mib2, 10)]);
        assert_eq!(faults(&spec), Vec::<String>::new());
        let taken = |node, count| HugePagesTaken { node, size: HugePageSize::Mib2, count };
        assert!(are_as_many(&[taken(0, 4), taken(1, 6)], &spec.huge_pages()));
        assert!(!are_as_many(&[taken(0, 4)], &spec.huge_pages()));
        assert!(!are_as_many(&[], &spec.huge_pages()) && are_as_many(&[], &[]));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for (pages, field) in [
            (json!([{"size": "2Mi", "mib": 0}]), "huge_pages[0].mib"),
            (json!([{"size": "2Mi", "mib": 3}]), "huge_pages[0].mib"),
            (json!([{"size": "1Gi", "mib": 64}]), "huge_pages[0].mib"),
            (json!([{"size": "2Mi", "mib": 1_048_578}]), "huge_pages[0].mib"),
            (json!([{"size": "2Mi", "mib": 2}, {"size": "2Mi", "mib": 2}]), "huge_pages[1].size"),
        ] {
            let spec = pod(json!([with("a", pages.clone())]), json!([]), json!([]));
            assert_eq!(faults(&spec), [format!("spec.containers[0].{field}")], "{pages}");
        }
        let unread =
            json!({"name": "a", "image": "tiny", "huge_pages": [{"size": "4Mi", "mib": 4}]});
        assert!(serde_json::from_value::<Container>(unread).is_err());
    }

    #[test]
    fn a_folder_of_huge_pages_is_for_those_who_have_some() {
        let volume = |medium: &str, size: Value| json!([{"name": "v", "source": {"empty": {"medium": medium, "size_mib": size}}}]);
        let mut seen = with("a", json!([{"size": "2Mi", "mib": 4}]));
        seen["mounts"] = json!([{"volume": "v", "path": "/huge"}]);
        let made = |medium: &str, size: Value| {
            faults(&pod(json!([seen.clone()]), json!([]), volume(medium, size)))
        };
        assert_eq!(made("huge_pages_2Mi", json!(4)), Vec::<String>::new());
        assert_eq!(made("huge_pages_2Mi", json!(null)), Vec::<String>::new());
        let size = ["spec.volumes[0].source.empty.size_mib"];
        assert_eq!(made("huge_pages_2Mi", json!(3)), size);
        assert_eq!(made("disk", json!(4)), size);
        assert_eq!(made("huge_pages_1Gi", json!(1024)), ["spec.containers[0].mounts[0].volume"]);
    }

    #[test]
    fn none_are_not_written() {
        let spec = pod(json!([with("a", json!([]))]), json!([]), json!([]));
        assert!(!serde_json::to_string(&spec).unwrap().contains("huge_pages"));
    }
}
