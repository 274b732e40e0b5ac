#!/bin/bash
# All rounds on several machines of a SLURM cluster, from the repository's folder, on a file system that all of them see:
#
#   sbatch scripts/slurm.sh autopet DIR RUN --vqvae_batch_size 16 --prior_batch_size 16 [--prior_epochs 30 ...]
#
# The same command goes on with a run that was stopped; a job that is requeued goes on by itself.
#SBATCH --job-name=iltm
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=64
#SBATCH --time=24:00:00
#SBATCH --requeue
set -euo pipefail

preset=$1 data=$2 run=$3
shift 3
first=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
processes=${SLURM_GPUS_ON_NODE:-1}
bundle=bundles/iltm

# With the shared store the ranks of a restart may look for each other at the addresses of the start before.
export TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-$((${SLURM_CPUS_PER_TASK:-1} / processes))}

srun python -m torch.distributed.run --nnodes "$SLURM_JOB_NUM_NODES" --nproc_per_node "$processes" --max_restarts 3 \
    --rdzv_id "$SLURM_JOB_ID" --rdzv_backend c10d --rdzv_endpoint "$first:${ILTM_PORT:-29500}" \
    -m monai.bundle run \
    --config_file "['$bundle/configs/train.json','configs/$preset.json','$bundle/configs/multi_gpu_train.json']" \
    --bundle_root "$bundle" --dataset_dir "$data" --output_dir "$run" "$@"
