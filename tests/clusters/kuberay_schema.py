"""What Kubernetes with KubeRay accepts, as JSON Schemas that reject every unknown key.

The types of Kubernetes (Pods, services, claims, deployments) are those of its OpenAPI, which the
package lightkube-models carries. The fields of KubeRay's own types are written down here from its
API reference, https://docs.ray.io/en/latest/cluster/kubernetes/references/api.html, with their
names, types and which are required. Fields that are younger than KubeRay 1.5.1 are left out, so
that a manifest that passes works from that version on.
"""

from __future__ import annotations

from typing import Any, Literal

import jsonschema
import msgspec
from lightkube.models import apps_v1, core_v1, meta_v1


class Model(msgspec.Struct, kw_only=True):
    """Fields by the names of the manifest; those without a default are required."""


class AuthOptions(Model):
    mode: Literal["token", "disabled"] = "token"


class AutoscalerOptions(Model):
    resources: core_v1.ResourceRequirements | None = None
    image: str | None = None
    imagePullPolicy: Literal["Always", "Never", "IfNotPresent"] | None = None
    securityContext: core_v1.SecurityContext | None = None
    idleTimeoutSeconds: int | None = None
    upscalingMode: Literal["Default", "Aggressive", "Conservative"] | None = None
    version: Literal["v1", "v2"] | None = None
    env: list[core_v1.EnvVar] | None = None
    envFrom: list[core_v1.EnvFromSource] | None = None
    volumeMounts: list[core_v1.VolumeMount] | None = None


class RedisCredential(Model):
    value: str | None = None
    valueFrom: core_v1.EnvVarSource | None = None


class GcsFaultToleranceOptions(Model):
    redisAddress: str
    redisUsername: RedisCredential | None = None
    redisPassword: RedisCredential | None = None
    externalStorageNamespace: str | None = None


class HeadGroupSpec(Model):
    template: core_v1.PodTemplateSpec
    rayStartParams: dict[str, str]
    headService: core_v1.Service | None = None
    enableIngress: bool | None = None
    serviceType: Literal["ClusterIP", "NodePort", "LoadBalancer", "ExternalName"] | None = None
    resources: dict[str, str] | None = None
    labels: dict[str, str] | None = None


class ScaleStrategy(Model):
    workersToDelete: list[str] | None = None


class WorkerGroupSpec(Model):
    groupName: str
    template: core_v1.PodTemplateSpec
    rayStartParams: dict[str, str]
    replicas: int = 0
    minReplicas: int = 0
    maxReplicas: int = 2**31 - 1
    numOfHosts: int = 1
    idleTimeoutSeconds: int | None = None
    suspend: bool | None = None
    scaleStrategy: ScaleStrategy | None = None
    resources: dict[str, str] | None = None
    labels: dict[str, str] | None = None


Manager = Literal["ray.io/kuberay-operator", "kueue.x-k8s.io/multikueue"]


class RayClusterSpec(Model):
    headGroupSpec: HeadGroupSpec
    workerGroupSpecs: list[WorkerGroupSpec] | None = None
    rayVersion: str | None = None
    authOptions: AuthOptions | None = None
    gcsFaultToleranceOptions: GcsFaultToleranceOptions | None = None
    enableInTreeAutoscaling: bool | None = None
    autoscalerOptions: AutoscalerOptions | None = None
    headServiceAnnotations: dict[str, str] | None = None
    suspend: bool | None = None
    managedBy: Manager | None = None


class RayCluster(Model):
    apiVersion: Literal["ray.io/v1"]
    kind: Literal["RayCluster"]
    metadata: meta_v1.ObjectMeta
    spec: RayClusterSpec


class SubmitterConfig(Model):
    backoffLimit: int | None = None


class RayJobSpec(Model):
    entrypoint: str | None = None
    rayClusterSpec: RayClusterSpec | None = None
    clusterSelector: dict[str, str] | None = None
    runtimeEnvYAML: str | None = None
    jobId: str | None = None
    metadata: dict[str, str] | None = None
    submissionMode: Literal["K8sJobMode", "HTTPMode", "InteractiveMode", "SidecarMode"] | None = (
        None
    )
    submitterPodTemplate: core_v1.PodTemplateSpec | None = None
    submitterConfig: SubmitterConfig | None = None
    entrypointNumCpus: float | None = None
    entrypointNumGpus: float | None = None
    entrypointResources: str | None = None
    activeDeadlineSeconds: int | None = None
    backoffLimit: int | None = None
    shutdownAfterJobFinishes: bool | None = None
    ttlSecondsAfterFinished: int | None = None
    suspend: bool | None = None
    managedBy: Manager | None = None


class RayJob(Model):
    apiVersion: Literal["ray.io/v1"]
    kind: Literal["RayJob"]
    metadata: meta_v1.ObjectMeta
    spec: RayJobSpec


KINDS: dict[tuple[str, str], type] = {
    ("ray.io/v1", "RayCluster"): RayCluster,
    ("ray.io/v1", "RayJob"): RayJob,
    ("v1", "PersistentVolumeClaim"): core_v1.PersistentVolumeClaim,
    ("v1", "Service"): core_v1.Service,
    ("apps/v1", "Deployment"): apps_v1.Deployment,
}


def _validators() -> dict[tuple[str, str], jsonschema.Draft202012Validator]:
    schemas, definitions = msgspec.json.schema_components(
        KINDS.values(), ref_template="#/$defs/{name}"
    )
    for definition in definitions.values():
        if "properties" in definition:
            definition["additionalProperties"] = False
    return {
        kind: jsonschema.Draft202012Validator(schema | {"$defs": definitions})
        for kind, schema in zip(KINDS, schemas, strict=True)
    }


_VALIDATORS = _validators()


def faults(manifest: dict[str, Any]) -> list[str]:
    """What the API server would refuse, a line each; the places are those of the manifest."""
    kind = (manifest.get("apiVersion"), manifest.get("kind"))
    if kind not in _VALIDATORS:
        return [f"{kind}: expected one of {sorted(KINDS)}"]
    found = []
    for error in _VALIDATORS[kind].iter_errors(manifest):
        # What did not fit in the branch of an optional field is said there, not at its root.
        leaf = jsonschema.exceptions.best_match([error]) or error
        found.append(f"{leaf.json_path}: {leaf.message}")
    return found
