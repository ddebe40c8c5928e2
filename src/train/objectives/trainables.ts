/** What the objectives with more than one model train, and what of it stays as it is. */
import type { DecoderParams } from '../../model/spec.ts'
import type { Trainable } from '../trainer.ts'
import type { DistilledParts, StudentParts } from './distillation.ts'
import type { PolicyAndReference } from './preference.ts'

/** A policy, beside the frozen model that it is compared with: by default what it is before the first step. */
export const referenced = (
  policy: DecoderParams,
  reference: DecoderParams = policy,
): Trainable<DecoderParams, DecoderParams, PolicyAndReference> => ({
  params: policy,
  frozen: reference,
  assemble: (trained, frozen) => ({ policy: trained, reference: frozen }),
})

/** A student and its projections, beside the frozen teacher. */
export const taught = (
  student: StudentParts,
  teacher: DecoderParams,
): Trainable<StudentParts, DecoderParams, DistilledParts> => ({
  params: student,
  frozen: teacher,
  assemble: (trained, frozen) => ({ ...trained, teacher: frozen }),
})
